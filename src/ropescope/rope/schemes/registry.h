// The registry's own side: a scheme's file defines a SchemeDefinition and registry.cpp lists it.
#pragma once

#include "ropescope/rope/scheme.h"
