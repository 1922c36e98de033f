#include "world.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ropescope/core/errors.h"

namespace ropescope::miniature {

namespace {

constexpr std::array<const char*, 3> kOrderNames = {"llava-next", "internvl", "native"};
constexpr std::array<const char*, 2> kTaskNames = {"place", "relation"};

}  // namespace

const char* order_name(Order order) { return kOrderNames.at(static_cast<size_t>(order)); }
Order parse_order(const std::string& name) { return parse_name<Order>(kOrderNames, name, "--order"); }
const char* task_name(Task task) { return kTaskNames.at(static_cast<size_t>(task)); }
Task parse_task(const std::string& name) { return parse_name<Task>(kTaskNames, name, "--task"); }

void check_world(const World& world) {
  if (world.side != 4 && world.side != 8) {
    throw UsageError("--side: expected 4 or 8 cells, found {}", world.side);
  }
  if (world.glyphs < 2 || world.glyphs > 12) {
    throw UsageError("--glyphs: expected 2 to 12, found {}", world.glyphs);
  }
  if (world.finer != 1 && world.finer != 2) {
    throw UsageError("--finer: expected 1 or 2, found {}", world.finer);
  }
  if (world.thumbnail_patch != kPatch / 2 && world.thumbnail_patch != kPatch &&
      world.thumbnail_patch != 2 * kPatch) {
    throw UsageError("--thumbnail-patch: expected 4, 8 or 16 pixels, found {}", world.thumbnail_patch);
  }
  if (world.thumbnail_patch != kPatch && world.order != Order::kNative) {
    throw UsageError("--thumbnail-patch {}: expected with --order native, found the order {}",
                     world.thumbnail_patch, order_name(world.order));
  }
  if (world.task == Task::kRelation && world.order == Order::kInternvl) {
    throw UsageError(
        "--task relation: expected the order llava-next or native, found internvl, in which tiles come before the "
        "thumbnail");
  }
}

Json to_json(const World& world) {
  const World plain;
  Json json = Json::object();
  if (world.order != plain.order) json["order"] = order_name(world.order);
  if (world.task != plain.task) json["task"] = task_name(world.task);
  if (world.side != plain.side) json["side"] = world.side;
  if (world.glyphs != plain.glyphs) json["glyphs"] = world.glyphs;
  if (world.finer != plain.finer) json["finer"] = world.finer;
  if (world.thumbnail_patch != plain.thumbnail_patch) json["thumbnail_patch"] = world.thumbnail_patch;
  return json;
}

World world_from(const Json& json, const std::string& what) {
  World world;
  if (!json.is_object()) return world;
  try {
    world.order = parse_order(json_string_or(json, "order", order_name(world.order), what));
    world.task = parse_task(json_string_or(json, "task", task_name(world.task), what));
    const auto number = [&](const char* key, int64_t& field) {
      if (json.contains(key)) field = json_integer(json, key, what);
    };
    number("side", world.side);
    number("glyphs", world.glyphs);
    number("finer", world.finer);
    number("thumbnail_patch", world.thumbnail_patch);
    check_world(world);
  } catch (const UsageError& error) {
    throw InputError("{}: {}", what, error.what());
  }
  return world;
}

std::string world_text(const World& world) {
  std::vector<std::string> parts;
  if (world.order != Order::kLlavaNext) parts.push_back(fmt::format("order {}", order_name(world.order)));
  if (world.task != Task::kPlace) parts.push_back(fmt::format("task {}", task_name(world.task)));
  if (world.side != 4) parts.push_back(fmt::format("side {}", world.side));
  if (world.glyphs != 4) parts.push_back(fmt::format("{} glyphs", world.glyphs));
  if (world.finer != 1) parts.push_back(fmt::format("{} times finer", world.finer));
  if (world.thumbnail_patch != kPatch) {
    parts.push_back(fmt::format("thumbnail patches of {} pixels", world.thumbnail_patch));
  }
  return parts.empty() ? "plain" : fmt::format("{}", fmt::join(parts, ", "));
}

}  // namespace ropescope::miniature
