// ropescope-miniature train: one seed and theta, one scheme or several.
#include <algorithm>
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

constexpr int64_t kLongestText = 65536;

Json to_json(const Score& score) { return {{"right", score.right}, {"asked", score.asked}}; }
Json to_json(const Measures& measures) {
  Json json = {{"correspondence", to_json(measures.correspondence)}, {"answers", to_json(measures.answers)}};
  if (measures.tokens_left.asked > 0) {
    json["tokens_left"] = to_json(measures.tokens_left);
    json["cells_left"] = to_json(measures.cells_left);
  }
  return json;
}

Json to_json(const std::vector<FadingPoint>& points) {
  Json list = Json::array();
  for (const FadingPoint& point : points) {
    list.push_back({{"length", point.length},
                    {"answers", to_json(point.answers)},
                    {"visual_share", point.visual_share},
                    {"pictures", point.pictures}});
  }
  return list;
}

struct TrainFlags {
  std::string from, output, save;
  std::vector<std::string> known;
  RopeFlags rotation;
  VisualSettings visual = {.scheme = "", .batch = 16};

  void bind(Flags& flags) {
    bind_from(flags, from);
    flags.add("output", output, ".json; with {scheme} in its name where there are several").required();
    flags.add("save", save, "folder for the trained model");
    flags.add(
        "known", known,
        "folder with runs of another question: one that is the same to the last setting is copied from there; may be "
        "given again");
    flags.add("scheme", visual.scheme, "position encoding, or several, separated by ';'")
        .required()
        .alias("schemes");
    rotation.bind(flags);
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
    flags
        .add(
            "distractor-lengths", visual.distractor_lengths,
            "tokens of made-up text between picture and questions, one of these lengths for each step by chance")
        .between(0, kLongestText);
    flags
        .add("measure-lengths", visual.measure_lengths,
             "of such text, behind which is asked in the end, for example 0,64,256,1024,2048,4096,8192")
        .between(0, kLongestText);
    flags
        .add(
            "length-pictures", visual.length_pictures,
            "asked about behind each length, of seen and of unseen grids, a question each of --questions; 0: all")
        .at_least(0);
    flags
        .add(
            "gaze-pictures", visual.gaze_pictures,
            "of seen and of unseen grids, whose tokens' attention on the thumbnail is measured in the end; 0: none")
        .at_least(0);
    flags.add("library", visual.library, "the library's passes, also where the quick ones would do");
    bind_seed(flags, visual.seed);
  }
};

/// The file of one scheme of several. Sections are written 4/6/6: a name with a slash would be a folder.
std::string file_of(const std::string& output, const std::string& scheme) {
  const std::string place = "{scheme}";
  const size_t at = output.find(place);
  std::string name = scheme;
  std::replace(name.begin(), name.end(), '/', '_');
  return at == std::string::npos ? output : output.substr(0, at) + name + output.substr(at + place.size());
}

/// What all schemes of a seed share.
struct Lessons {
  fs::path start;
  World world;
  RopeConfig rope;
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
  Json json = {{"format", "ropescope-miniature"},
               {"order", order_name(lessons.world.order)},
               {"world", to_json(lessons.world)},
               {"settings", to_json(settings)},
               {"start", lessons.report},
               {"theta", lessons.rope.theta},
               {"curve", curve},
               {"stopped", result.stopped},
               {"seconds", result.seconds}};
  if (const Json scaling = scaling_json(lessons.rope); !scaling.is_null()) json["scaling"] = scaling;
  if (!result.fading_seen.empty()) {
    json["fading"] = {{"seen", to_json(result.fading_seen)}, {"unseen", to_json(result.fading_unseen)}};
  }
  if (result.gaze_seen) {
    json["gaze"] = {{"seen", to_json(*result.gaze_seen)}, {"unseen", to_json(*result.gaze_unseen)}};
  }
  return json;
}

/// Whether a file of results is of this run: everything that it follows from is written in it, the start's report
/// with the seeds and settings of eyes and text.
bool is_of_run(const Json& before, const Lessons& lessons, const VisualSettings& settings) {
  return before.is_object() && before.value("settings", Json()) == to_json(settings) &&
         before.value("start", Json()) == lessons.report &&
         before.value("world", Json()) == to_json(lessons.world) &&
         before.value("order", "") == order_name(lessons.world.order) &&
         before.value("theta", 0.0) == lessons.rope.theta &&
         before.value("scaling", Json()) == scaling_json(lessons.rope);
}

/// Whether one of these folders had the run.
bool copy_known(const std::vector<std::string>& folders, const fs::path& output,
                const VisualSettings& settings, const Lessons& lessons) {
  for (const std::string& folder : folders) {
    const fs::path file = fs::path(folder) / output.filename();
    const Json run = read_if_there(file);
    if (!is_of_run(run, lessons, settings)) continue;
    write_whole(output, run.dump(1) + "\n");
    std::cout << fmt::format("{} theta {:g}{} seed {}: as in {}\n", settings.scheme, lessons.rope.theta,
                             scaling_suffix(lessons.rope), settings.seed, file.string());
    return true;
  }
  return false;
}

void train_one(const TrainFlags& flags, const VisualSettings& settings, Lessons& lessons) {
  const fs::path output = file_of(flags.output, settings.scheme);
  if (is_of_run(read_if_there(output), lessons, settings) &&
      (flags.save.empty() || read_if_there(fs::path(flags.save) / "config.json").contains("ropescope"))) {
    return;
  }
  if (flags.save.empty() && copy_known(flags.known, output, settings, lessons))
    return;  // (no model is kept there)
  lessons.open(flags.from);
  Llava llava = load_model(lessons.start, lessons.world);
  const VisualResult result = teach_pictures(llava, *lessons.train, *lessons.seen, *lessons.unseen, settings);
  if (!flags.save.empty()) save_model(llava, flags.save, settings.scheme, lessons.world);
  write_whole(output, json_of_run(lessons, settings, result).dump(1) + "\n");
  const CurvePoint& last = result.curve.back();
  std::cout << fmt::format(
      "{} theta {:g}{} seed {}: correspondence {} seen {} unseen, answers {} seen {} unseen, {:.0f} s{}\n",
      settings.scheme, lessons.rope.theta, scaling_suffix(lessons.rope), settings.seed,
      score_text(last.seen.correspondence), score_text(last.unseen.correspondence),
      score_text(last.seen.answers), score_text(last.unseen.answers), result.seconds,
      result.stopped ? fmt::format(", solved and ended at step {}", last.step) : "");
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
  for (const std::string& folder : flags.known) {
    if (!fs::is_directory(folder)) throw UsageError("--known: expected a folder with runs, found {}", folder);
  }
  if (flags.visual.stop_when_solved > 0 && !flags.visual.distractor_lengths.empty()) {
    throw UsageError(
        "--stop-when-solved: expected 0 with --distractor-lengths, as looks on the way ask behind no text, found {}",
        flags.visual.stop_when_solved);
  }
  const bool with_text = !flags.visual.distractor_lengths.empty() || !flags.visual.measure_lengths.empty();
  if (with_text && !parse_compression(flags.visual.compress, flags.visual.merged_id).none()) {
    throw UsageError("--compress: expected none with --distractor-lengths or --measure-lengths, found {}",
                     flags.visual.compress);
  }
  const fs::path from = flags.from;
  Lessons lessons;
  lessons.world = world_of(read_if_there(from / "prepared.json"), from);
  if (flags.visual.gaze_pictures > 0) {
    check_gaze(lessons.world, parse_compression(flags.visual.compress, flags.visual.merged_id));
  }
  lessons.rope = flags.rotation.rope(lessons.world);
  lessons.start = start_folder(from, lessons.rope);
  lessons.report = read_if_there(lessons.start.string() + ".json");
  for (const std::string& scheme : schemes) {
    VisualSettings settings = flags.visual;
    settings.scheme = scheme;
    settings.map = flags.visual.map == "none" ? "" : flags.visual.map;
    if (parse_compression(settings.compress, settings.merged_id).none()) settings.compress = "";
    if (settings.merged_id == "cell") settings.merged_id = "";  // what it is unless given: one run, not two
    with_map(scheme, settings.map, settings.seed);  // what cannot be read is refused before any work
    train_one(flags, settings, lessons);
  }
  return 0;
}

}  // namespace

Step train_step() { return make_step("train", "one seed and theta, one scheme or several", train); }

}  // namespace ropescope::miniature
