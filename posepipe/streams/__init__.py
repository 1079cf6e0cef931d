"""What is made of a pose stream: smoother, at a fixed rate, as angles, speeds and postures. Numpy alone."""
