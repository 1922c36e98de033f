#include "ropescope/eval/video_rules.h"

#include "ropescope/eval/clips.h"

namespace ropescope::eval {

std::string clip_name(const Json& doc, const std::string& item) {
  for (const char* column : kClipColumns) {
    const Json* name = json_find(doc, column);
    if (name != nullptr) return name->is_string() ? name->get<std::string>() : name->dump(-1, ' ', true);
  }
  return item;
}

double unit_mean(const std::vector<double>& scores) {
  double sum = 0;
  for (const double score : scores) sum += score;
  return sum / static_cast<double>(scores.size());
}

}  // namespace ropescope::eval
