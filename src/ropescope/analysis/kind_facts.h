// What a result file says about kinds of layers, whatever was measured on them.
#pragma once

#include <string>
#include <vector>

#include "ropescope/analysis/decay.h"
#include "ropescope/io/result_file.h"

namespace ropescope {

/// group (ends in '/') + {name, layers, theta, window, chunk, rotates, count, clusters}, one entry a kind. `theta`: of each
/// column and kind.
void write_kind_facts(ResultWriter& writer, const std::string& group, const std::vector<DecayKind>& kinds,
                      const at::Tensor& theta);

}  // namespace ropescope
