// MMBench's circular evaluation: a question counts as answered only if it is answered under every rotation of
// its options. Rotations of the main row i (index < 1 000 000) have the index i + k * 1 000 000.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "ropescope/core/json.h"

namespace ropescope::eval {

inline constexpr int64_t kRotationStep = 1'000'000;

/// Rotations of no main row are left out.
class CircularGroups {
 public:
  /// `category`, `l2_category`: those of the main row count.
  void add(int64_t index, bool right, const std::string& category, const std::string& l2_category);

  struct Group {
    bool has_main = false;
    bool all_right = true;
    std::string category, l2_category;
  };
  /// By the main row's index; groups without a main row are among them.
  const std::map<int64_t, Group>& groups() const { return groups_; }

 private:
  std::map<int64_t, Group> groups_;
};

}  // namespace ropescope::eval
