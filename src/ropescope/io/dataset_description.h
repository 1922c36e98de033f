// What the datasets of result files mean: the one list that the writer stores beside the numbers, that
// `ropescope dump` reads for files of any age, and that docs/files.md explains.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace ropescope {

/// Stored as the attributes of these names.
struct DatasetDescription {
  std::string dimensions;   ///< names of the axes, outermost first: "theta, distance"; empty for one value
  std::string units;        ///< "token", "nat", ...; "1": a number without unit; "text"
  std::string description;  ///< one clause

  /// `dimensions` one by one.
  std::vector<std::string> axes() const;
};

/// Names of the three attributes.
inline constexpr const char* kDescriptionAttributes[] = {"dimensions", "units", "description"};
bool is_description_attribute(const std::string& name);

/// Nothing for datasets that no command writes.
std::optional<DatasetDescription> describe_dataset(const std::string& path);

/// Whether a dataset tells how fast the machine was, not what was measured: no two runs have it alike.
bool is_timing_dataset(const std::string& path);

}  // namespace ropescope
