"""The stages of the whole way, one file each; command line, notebooks and jobs call the same functions."""
