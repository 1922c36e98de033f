// Parts of one result file in another.
#pragma once

#include <string>

#include "ropescope/io/result_file.h"

namespace ropescope {

/// Everything in `group` with all attributes, under the same names, one dataset in memory at a time. Descriptions are
/// those that `to` gives its datasets.
void copy_group(const ResultReader& from, const std::string& group, ResultWriter& to);

}  // namespace ropescope
