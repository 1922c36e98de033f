// Loops that are compiled twice: for machines with AVX2 and FMA, and for all others. The loader picks.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define ROPESCOPE_VECTOR_UNITS __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define ROPESCOPE_VECTOR_UNITS
#endif
/// For what such a loop calls: only code that is put into it gets its instructions.
#define ROPESCOPE_INLINE inline __attribute__((always_inline))
