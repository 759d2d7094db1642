"""The stages of the whole way, one file each; the command line, notebooks and jobs call the same functions."""
