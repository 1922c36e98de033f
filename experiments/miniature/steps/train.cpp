// ropescope-miniature train: one seed and theta, one scheme or several.
#include <filesystem>
#include <iostream>
#include <optional>

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"
#include "ropescope/rope/scheme.h"

#include "miniature/model.h"
#include "miniature/visual.h"
#include "miniature/words.h"
#include "step.h"

namespace ropescope::miniature {

namespace {

namespace fs = std::filesystem;
using app::Flags;

Json to_json(const Score& score) { return {{"right", score.right}, {"asked", score.asked}}; }
Json to_json(const Measures& measures) {
  Json json = {{"correspondence", to_json(measures.correspondence)}, {"answers", to_json(measures.answers)}};
  if (measures.tokens_left.asked > 0) {
    json["tokens_left"] = to_json(measures.tokens_left);
    json["cells_left"] = to_json(measures.cells_left);
  }
  return json;
}

struct TrainFlags {
  std::string from, output, save;
  double theta = 1e4;
  VisualSettings visual = {.scheme = "", .batch = 16};

  void bind(Flags& flags) {
    bind_from(flags, from);
    flags.add("output", output, ".json; with {scheme} in its name where there are several").required();
    flags.add("save", save, "folder for the trained model");
    flags.add("scheme", visual.scheme, "position encoding, or several, separated by ';'")
        .required()
        .alias("schemes");
    bind_theta(flags, theta, "base of the rotation");
    flags.add(
        "map", visual.map,
        "id-align's wrong=: ids that high-resolution tokens inherit, made wrong: shift-CELLS, mirror, quarter-turn, "
        "shuffle-rows, shuffle, random-PERCENT; chance by the run's seed");
    flags.add(
        "compress", visual.compress,
        "fewer high-resolution tokens: pool-SIDE (means of squares), drop-PERCENT (by chance), tome-PERCENT (merged where the "
        "tower's features are alike), all before the decoder; prune-PERCENT (least attended), tofu-PERCENT (pruned, then "
        "merged, by keys), between its layers");
    flags.add(
        "merged-id", visual.merged_id,
        "ids of a token that stands for others: cell (that most of them have), mean, ppe (of eight of them, each on its part of "
        "the channels), after (ids are given after the compression)");
    flags.add("steps", visual.steps, "updates").at_least(1);
    flags.add("constant-rate", visual.constant_rate,
              "no annealing: the curve is that of every shorter run too");
    flags.add("batch", visual.batch, "pictures a step").at_least(1);
    flags.add("questions", visual.questions, "of a picture").between(1, kCells);
    flags.add("rate", visual.learning_rate, "peak learning rate");
    flags.add("correspondence", visual.correspondence,
              "weight of the cells' colours as targets; 0: answers only");
    flags.add("measure-every", visual.measure_every, "steps").at_least(1);
    flags.add("measure-at", visual.measure_at, "steps besides");
    flags.add("measure-pictures", visual.measure_pictures, "on the way");
    flags
        .add("stop-when-solved", visual.stop_when_solved,
             "end after so many looks in a row at which 99 % of everything was right; 0: never")
        .at_least(0);
    flags.add("library", visual.library, "the library's passes, also where the quick ones would do");
    bind_seed(flags, visual.seed);
  }
};

/// The file of one scheme of several.
std::string file_of(const std::string& output, const std::string& scheme) {
  const std::string place = "{scheme}";
  const size_t at = output.find(place);
  return at == std::string::npos ? output : output.substr(0, at) + scheme + output.substr(at + place.size());
}

/// What all schemes of a seed share.
struct Lessons {
  fs::path start;
  World world;
  double theta = 0;
  Json report;  ///< of the start
  std::optional<Album> train, seen, unseen;

  void open(const fs::path& from) {
    if (train) return;
    const fs::path features = from / "features.safetensors";
    train = load_album(features, "train", world);
    seen = load_album(features, "seen", world);
    unseen = load_album(features, "unseen", world);
  }
};

Json json_of_run(const Lessons& lessons, const VisualSettings& settings, const VisualResult& result) {
  Json curve = Json::array();
  for (const CurvePoint& point : result.curve) {
    curve.push_back({{"step", point.step},
                     {"loss", point.loss},
                     {"seen", to_json(point.seen)},
                     {"unseen", to_json(point.unseen)}});
  }
  return {{"format", "ropescope-miniature"},
          {"order", order_name(lessons.world.order)},
          {"world", to_json(lessons.world)},
          {"settings", to_json(settings)},
          {"start", lessons.report},
          {"theta", lessons.theta},
          {"curve", curve},
          {"stopped", result.stopped},
          {"seconds", result.seconds}};
}

void train_one(const TrainFlags& flags, const VisualSettings& settings, Lessons& lessons) {
  const fs::path output = file_of(flags.output, settings.scheme);
  const Json before = read_if_there(output);
  if (before.is_object() && before.value("settings", Json()) == to_json(settings) &&
      before.value("start", Json()) == lessons.report &&
      (flags.save.empty() || read_if_there(fs::path(flags.save) / "config.json").contains("ropescope"))) {
    return;
  }
  lessons.open(flags.from);
  Llava llava = load_model(lessons.start, lessons.world);
  const VisualResult result = teach_pictures(llava, *lessons.train, *lessons.seen, *lessons.unseen, settings);
  if (!flags.save.empty()) save_model(llava, flags.save, settings.scheme, lessons.world);
  write_whole(output, json_of_run(lessons, settings, result).dump(1) + "\n");
  const CurvePoint& last = result.curve.back();
  std::cout << fmt::format(
      "{} theta {:g} seed {}: correspondence {:.3f} seen {:.3f} unseen, answers {:.3f} seen {:.3f} unseen, {:.0f} s{}\n",
      settings.scheme, flags.theta, settings.seed, last.seen.correspondence.share(),
      last.unseen.correspondence.share(), last.seen.answers.share(), last.unseen.answers.share(),
      result.seconds, result.stopped ? fmt::format(", solved and ended at step {}", last.step) : "");
}

int train(const TrainFlags& flags) {
  const std::vector<std::string> schemes = split_scheme_list(flags.visual.scheme);
  if (schemes.size() > 1 && flags.output.find("{scheme}") == std::string::npos) {
    throw UsageError("--output: expected {{scheme}} in the name for {} schemes, found \"{}\"", schemes.size(),
                     flags.output);
  }
  if (schemes.size() > 1 && !flags.save.empty()) {
    throw UsageError("--save: expected one scheme, found {}", schemes.size());
  }
  const fs::path from = flags.from;
  Lessons lessons;
  lessons.start = start_folder(from, flags.theta);
  lessons.world = world_of(read_if_there(from / "prepared.json"), from);
  lessons.theta = flags.theta;
  lessons.report = read_if_there(lessons.start.string() + ".json");
  for (const std::string& scheme : schemes) {
    VisualSettings settings = flags.visual;
    settings.scheme = scheme;
    settings.map = flags.visual.map == "none" ? "" : flags.visual.map;
    if (parse_compression(settings.compress, settings.merged_id).none()) settings.compress = "";
    with_map(scheme, settings.map, settings.seed);  // what cannot be read is refused before any work
    train_one(flags, settings, lessons);
  }
  return 0;
}

}  // namespace

Step train_step() { return make_step("train", "one seed and theta, one scheme or several", train); }

}  // namespace ropescope::miniature
