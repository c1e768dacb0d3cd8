// Functions that the C++ and the CUDA side of an op share are marked MAMMOFAST_HD.
#pragma once

#ifdef __CUDACC__
#define MAMMOFAST_HD __host__ __device__ inline
#else
#define MAMMOFAST_HD inline
#endif
