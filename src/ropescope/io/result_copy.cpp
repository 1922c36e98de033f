#include "ropescope/io/result_copy.h"

namespace ropescope {

namespace {

bool lies_in(const std::string& object, const std::string& group) {
  return object == group || object.starts_with(group + "/");
}

void copy_attributes(const ResultReader& from, const std::string& object, ResultWriter& to) {
  for (const std::string& name : from.attribute_names(object)) {
    if (is_description_attribute(name)) continue;
    to.attribute(object, name, from.attribute(object, name));
  }
}

}  // namespace

void copy_group(const ResultReader& from, const std::string& group, ResultWriter& to) {
  for (const std::string& dataset : from.datasets()) {
    if (!lies_in(dataset, group)) continue;
    if (from.is_string(dataset)) {
      to.write(dataset, from.read_strings(dataset));
    } else {
      to.write(dataset, from.read(dataset));
    }
    copy_attributes(from, dataset, to);
  }
  for (const std::string& inner : from.groups()) {
    if (lies_in(inner, group)) copy_attributes(from, inner, to);
  }
}

}  // namespace ropescope
