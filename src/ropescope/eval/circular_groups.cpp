#include "ropescope/eval/circular_groups.h"

namespace ropescope::eval {

void CircularGroups::add(int64_t index, bool right, const std::string& category,
                         const std::string& l2_category) {
  Group& group = groups_[index % kRotationStep];
  group.all_right = group.all_right && right;
  if (index >= kRotationStep) return;
  group.has_main = true;
  group.category = category;
  group.l2_category = l2_category;
}

}  // namespace ropescope::eval
