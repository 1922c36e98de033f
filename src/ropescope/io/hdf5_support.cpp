#include "ropescope/io/hdf5_support.h"

namespace ropescope::hdf5 {

std::string last_error() {
  std::string text;
  // Upward starts at the innermost function, whose description says what really happened; later ones say
  // "unable to ...".
  const auto take_first = [](unsigned, const H5E_error2_t* entry, void* out) -> herr_t {
    auto& innermost = *static_cast<std::string*>(out);
    if (innermost.empty() && entry->desc != nullptr) innermost = entry->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_first, &text);
  return text.empty() ? "no reason given" : text;
}

Handle string_type() {
  Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.get(), H5T_VARIABLE);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  return type;
}

std::vector<std::string> path_prefixes(const std::string& path) {
  std::vector<std::string> prefixes;
  size_t end = 0;
  while (end != std::string::npos && end + 1 < path.size()) {
    end = path.find('/', end + 1);
    prefixes.push_back(path.substr(0, end));
  }
  return prefixes;
}

}  // namespace ropescope::hdf5
