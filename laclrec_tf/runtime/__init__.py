"""The process and the machine: terminal, start-up of TensorFlow, child processes, output files, mounted buckets."""
