"""Plain modules: backbone, tuning, encoders, decoupling, fusion, conditioning."""
