// The registry's own side: a benchmark's file defines a Benchmark and registry.cpp lists it.
#pragma once

#include "ropescope/eval/benchmark.h"
#include "ropescope/eval/doc.h"
#include "ropescope/eval/tallies.h"
