#include "ropescope/eval/tallies.h"

namespace ropescope::eval {

Json json_of(const Means& means) {
  Json object = Json::object();
  for (const auto& [name, mean] : means) object[name] = mean.json();
  return object;
}

double mean_of(const Means& means) {
  Mean mean;
  for (const auto& entry : means) mean.add(entry.second.value());
  return mean.value();
}

}  // namespace ropescope::eval
