// The tables behind dataset_description.h, one file for each part of the program that writes datasets.
#pragma once

#include <vector>

#include "ropescope/io/dataset_description.h"

namespace ropescope {

struct DescribedDatasets {
  const char* pattern;  ///< of fnmatch; * stands for any text, slashes too
  DatasetDescription description;
};

inline constexpr const char* kLowEnd = "lower end of the 95% interval; NaN where none can be given";
inline constexpr const char* kHighEnd = "upper end of the 95% interval; NaN where none can be given";
inline constexpr const char* kVisualShare = "attention on visual tokens, a share of 1";
inline constexpr const char* kUniformShare =
    "what uniform attention would give: the share of visible keys that are visual";

/// Of each table the first that matches counts, so the narrower stand first.
std::vector<DescribedDatasets> described_samples();  ///< texts, pairs, and what is computed from them
std::vector<DescribedDatasets> described_layouts();  ///< positions, priors, attention
std::vector<DescribedDatasets> described_runs();     ///< traces, pictures, training, evaluation

}  // namespace ropescope
