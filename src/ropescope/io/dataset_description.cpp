#include "ropescope/io/dataset_description.h"

#include <algorithm>

#include <fnmatch.h>

#include "ropescope/io/described_datasets.h"

namespace ropescope {

namespace {

const std::vector<DescribedDatasets>& all_described() {
  static const std::vector<DescribedDatasets> all = [] {
    std::vector<DescribedDatasets> tables = described_samples();
    for (const auto& table : {described_layouts(), described_runs()}) {
      tables.insert(tables.end(), table.begin(), table.end());
    }
    return tables;
  }();
  return all;
}

}  // namespace

std::vector<std::string> DatasetDescription::axes() const {
  std::vector<std::string> names;
  for (size_t begin = 0; begin < dimensions.size();) {
    const size_t end = std::min(dimensions.find(", ", begin), dimensions.size());
    names.push_back(dimensions.substr(begin, end - begin));
    begin = end + 2;
  }
  return names;
}

bool is_description_attribute(const std::string& name) {
  return std::any_of(std::begin(kDescriptionAttributes), std::end(kDescriptionAttributes),
                     [&](const char* known) { return name == known; });
}

std::optional<DatasetDescription> describe_dataset(const std::string& path) {
  for (const DescribedDatasets& row : all_described()) {
    if (fnmatch(row.pattern, path.c_str(), 0) == 0) return row.description;
  }
  return std::nullopt;
}

bool is_timing_dataset(const std::string& path) {
  const std::optional<DatasetDescription> known = describe_dataset(path);
  return known && known->units.find("per second") != std::string::npos;
}

}  // namespace ropescope
