"""What commands need of the process and the machine: terminal, TensorFlow's start, processes, files, buckets."""
