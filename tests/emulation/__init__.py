"""A GPU emulated on the CPU: the real CUDA sources, compiled for the host (cuda_host.h)."""
