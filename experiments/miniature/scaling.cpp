#include "scaling.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/core/errors.h"

#include "pictures.h"
#include "views.h"

namespace ropescope::miniature {

int64_t longest_sequence(const World& world, int64_t questions) {
  std::vector<Shape> shapes = seen_shapes(world);
  for (const Shape& shape : unseen_shapes(world)) shapes.push_back(shape);
  int64_t longest = 0;
  for (const Shape& shape : shapes) {
    longest = std::max(longest, view_of(shape, world.order).block.tokens());
  }
  return 1 + longest + 2 * questions;
}

const std::vector<std::string>& scaling_types() {
  static const std::vector<std::string> types = {"linear", "ntk", "yarn"};
  return types;
}

RopeConfig scaled_rope(double theta, const std::string& type, double factor, const World& world) {
  RopeConfig rope;
  rope.theta = theta;
  if (type.empty()) {
    if (factor != 1) throw UsageError("--factor: expected with --scaling, found {:g} alone", factor);
    return rope;
  }
  if (std::find(scaling_types().begin(), scaling_types().end(), type) == scaling_types().end()) {
    throw UsageError("--scaling: expected {}, found \"{}\"", fmt::join(scaling_types(), ", "), type);
  }
  if (!(factor > 1)) {
    throw UsageError("--factor: expected a number above 1 with --scaling {}, found {:g}", type, factor);
  }
  rope.type = parse_rope_type(type);
  rope.factor = factor;
  if (rope.type == RopeType::kYarn) rope.original_max_position_embeddings = longest_sequence(world);
  return rope;
}

Json scaling_json(const RopeConfig& rope) {
  if (rope.type == RopeType::kDefault) return {};
  Json json = to_json(rope);
  json.erase("rope_theta");
  json.erase("partial_rotary_factor");
  return json;
}

std::string scaling_text(const RopeConfig& rope) {
  if (rope.type == RopeType::kDefault) return "";
  return fmt::format("{}:{:g}", rope_type_name(rope.type), rope.factor);
}

}  // namespace ropescope::miniature
