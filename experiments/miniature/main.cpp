// ropescope-miniature <prepare | text | train | table>: the steps of experiments/miniature/run.sh; draw:
// pictures alone.
#include <algorithm>
#include <functional>
#include <iostream>
#include <memory>
#include <system_error>

#include <fmt/format.h>

#include "ropescope/core/device.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/vision/preprocess.h"
#include "ropescope/weights/safetensors_writer.h"

#include "album.h"
#include "apps/flags.h"
#include "lessons.h"
#include "model.h"
#include "table.h"
#include "visual.h"

namespace ropescope::miniature {

namespace {

namespace fs = std::filesystem;
using app::Flags;

void bind_seed(Flags& flags, uint64_t& seed) { flags.add("seed", seed, "of pictures, weights and order"); }
void bind_from(Flags& flags, std::string& from) {
  flags.add("from", from, "the folder that prepare filled").required();
}
void bind_theta(Flags& flags, double& theta, const std::string& help) {
  flags.add("theta", theta, help).shown_default("1e4");
}

/// Written beside its place and renamed, so that a run that was cut off left nothing.
void write_whole(const fs::path& file, const std::string& text) {
  std::error_code code;
  if (file.has_parent_path()) fs::create_directories(file.parent_path(), code);
  const fs::path unfinished = file.string() + ".unfinished";
  write_text_durably(unfinished, text);
  fs::rename(unfinished, file, code);
  if (code) throw EnvironmentError("{}: cannot be written ({})", file.string(), code.message());
}

Json read_if_there(const fs::path& file) {
  std::error_code code;
  return fs::exists(file, code) ? read_json_file(file) : Json::object();
}

fs::path start_folder(const fs::path& from, double theta) { return from / fmt::format("start-{:g}", theta); }

/// The order that prepare wrote down.
Order order_of(const Json& prepared, const fs::path& from) {
  const Json settings = prepared.is_object() ? prepared.value("settings", Json::object()) : Json::object();
  return parse_order(json_string_or(settings, "order", "llava-next", from.string()));
}

struct PrepareFlags {
  std::string output, order = "llava-next";
  int64_t pictures = 2048, test_pictures = 256;
  ModelSize size;
  LessonSettings lesson = {.steps = 500, .batch = 128, .learning_rate = 3e-3};

  void bind(Flags& flags) {
    flags.add("output", output, "folder").required();
    flags.add("order", order,
              "of a picture's tokens: llava-next, internvl (tile by tile, thumbnail last) or native");
    flags.add("pictures", pictures, "to train on");
    flags.add("test-pictures", test_pictures, "to measure on, of each kind");
    flags.add("width", size.width, "channels of the decoder");
    flags.add("heads", size.heads, "of the decoder");
    flags.add("layers", size.layers, "of the decoder");
    flags.add("tower-steps", lesson.steps, "steps of the tower");
    flags.add("tower-batch", lesson.batch, "tiles a step");
    flags.add("tower-rate", lesson.learning_rate, "learning rate of the tower");
    bind_seed(flags, lesson.seed);
  }
};

/// Pictures, the tower that has learned to see them, and what it sees:
/// OUTPUT/{pictures,eyes,features.safetensors}.
int prepare(const PrepareFlags& flags) {
  const fs::path output = flags.output;
  const LessonSettings& lesson = flags.lesson;
  const uint64_t seed = lesson.seed;
  ModelSize size = flags.size;
  size.inner = 2 * size.width;
  const int64_t train = flags.pictures, test = flags.test_pictures;
  const Order order = parse_order(flags.order);
  Json settings = {{"seed", seed},          {"pictures", train},     {"test_pictures", test},
                   {"width", size.width},   {"heads", size.heads},   {"layers", size.layers},
                   {"steps", lesson.steps}, {"batch", lesson.batch}, {"rate", lesson.learning_rate}};
  if (order != Order::kLlavaNext) settings["order"] = flags.order;
  const fs::path report_file = output / "prepared.json";
  if (read_if_there(report_file).value("settings", Json()) == settings) return 0;
  draw_album(output / "pictures/train", "train", train, seen_shapes(order), seed);
  draw_album(output / "pictures/seen", "seen", test, seen_shapes(order), seed);
  draw_album(output / "pictures/unseen", "unseen", test, unseen_shapes(order), seed);
  Llava llava = fresh_model(size, 1e4, seed, order);
  save_model(llava, output / "eyes", "", order);
  const Cutter cutter(
      order, order == Order::kLlavaNext ? read_preprocess_settings(output / "eyes") : PreprocessSettings{});
  std::vector<std::pair<std::string, Album>> albums;
  for (const char* name : {"train", "seen", "unseen"}) {
    albums.emplace_back(name, open_album(output / "pictures" / name, cutter));
  }
  const TowerReport report = teach_tower(llava, albums[0].second, albums[1].second, lesson);
  save_model(llava, output / "eyes", "", order);
  for (auto& [name, album] : albums) look_at(album, llava);
  save_albums(output / "features.safetensors", albums);
  const Json result = {{"settings", settings},
                       {"colour", report.colour},
                       {"glyph", report.glyph},
                       {"glyph_in_thumbnail", report.glyph_in_thumbnail},
                       {"colour_in_tile", report.colour_in_tile}};
  write_whole(report_file, result.dump(2) + "\n");
  std::cout << fmt::format(
      "seed {}: its eyes' features tell {:.1f} % of colours and {:.1f} % of glyphs apart (numbers: {})\n",
      seed, 100 * report.colour, 100 * report.glyph, report_file.string());
  return 0;
}

struct DrawFlags {
  std::string output;
  int64_t pictures = 2048;
  uint64_t seed = 0;

  void bind(Flags& flags) {
    flags.add("output", output, "folder").required();
    flags.add("pictures", pictures, "of each kind");
    bind_seed(flags, seed);
  }
};

/// Pictures that no model was trained on: OUTPUT/{seen,unseen}.
int draw(const DrawFlags& flags) {
  const fs::path output = flags.output;
  draw_album(output / "seen", "questions seen", flags.pictures, seen_shapes(), flags.seed);
  draw_album(output / "unseen", "questions unseen", flags.pictures, unseen_shapes(), flags.seed);
  return 0;
}

struct TextFlags {
  std::string from;
  double theta = 1e4;
  LessonSettings lesson = {.steps = 1000, .batch = 32, .learning_rate = 3e-3};

  void bind(Flags& flags) {
    bind_from(flags, from);
    bind_theta(flags, theta, "base of the rotation");
    flags.add("text-steps", lesson.steps, "at most so many steps");
    flags.add("text-batch", lesson.batch, "rows a step");
    flags.add("text-rate", lesson.learning_rate, "learning rate");
    bind_seed(flags, lesson.seed);
  }
};

/// A decoder that knows retrieval, under one theta: FROM/start-<theta>.
int text(const TextFlags& flags) {
  const fs::path from = flags.from;
  const double theta = flags.theta;
  const Json prepared = read_if_there(from / "prepared.json");
  const Order order = order_of(prepared, from);
  const LessonSettings& lesson = flags.lesson;
  const Json settings = {{"eyes", prepared},
                         {"theta", theta},
                         {"steps", lesson.steps},
                         {"batch", lesson.batch},
                         {"rate", lesson.learning_rate},
                         {"seed", lesson.seed}};
  const fs::path folder = start_folder(from, theta);
  const fs::path report_file = folder.string() + ".json";
  if (read_if_there(report_file).value("settings", Json()) == settings) return 0;
  Llava llava = load_model(from / "eyes", order);
  llava.config.decoder.rope().theta = llava.decoder.config.rope().theta = theta;
  const double right = teach_text(llava, lesson);
  save_model(llava, folder, "", order);
  const Json result = {{"settings", settings}, {"answers", right}};
  write_whole(report_file, result.dump(2) + "\n");
  std::cout << fmt::format("theta {:g}: {:.4f} of the questions about text answered\n", theta, right);
  return 0;
}

Json to_json(const Score& score) { return {{"right", score.right}, {"asked", score.asked}}; }
Json to_json(const Measures& measures) {
  return {{"correspondence", to_json(measures.correspondence)}, {"answers", to_json(measures.answers)}};
}

struct TrainFlags {
  std::string from, output, save;
  double theta = 1e4;
  VisualSettings visual = {.scheme = "", .batch = 16};

  void bind(Flags& flags) {
    bind_from(flags, from);
    flags.add("output", output, ".json").required();
    flags.add("save", save, "folder for the trained model");
    flags.add("scheme", visual.scheme, "position encoding").required().alias("schemes");
    bind_theta(flags, theta, "base of the rotation");
    flags.add("steps", visual.steps, "updates");
    flags.add("batch", visual.batch, "pictures a step");
    flags.add("questions", visual.questions, "of a picture").between(1, kCells);
    flags.add("rate", visual.learning_rate, "peak learning rate");
    flags.add("correspondence", visual.correspondence,
              "weight of the cells' colours as targets; 0: answers only");
    flags.add("measure-every", visual.measure_every, "steps");
    flags.add("measure-pictures", visual.measure_pictures, "on the way");
    bind_seed(flags, visual.seed);
  }
};

/// One scheme, one theta, one seed.
int train(const TrainFlags& flags) {
  const fs::path from = flags.from, output = flags.output;
  const double theta = flags.theta;
  const Order order = order_of(read_if_there(from / "prepared.json"), from);
  const VisualSettings& settings = flags.visual;
  const Json start = read_if_there(start_folder(from, theta).string() + ".json");
  const Json now = to_json(settings);
  const Json before = read_if_there(output);
  if (before.is_object() && before.value("settings", Json()) == now &&
      before.value("start", Json()) == start &&
      (flags.save.empty() || read_if_there(fs::path(flags.save) / "config.json").contains("ropescope"))) {
    return 0;
  }
  Llava llava = load_model(start_folder(from, theta), order);
  const fs::path features = from / "features.safetensors";
  const VisualResult result =
      teach_pictures(llava, load_album(features, "train", order), load_album(features, "seen", order),
                     load_album(features, "unseen", order), settings);
  if (!flags.save.empty()) save_model(llava, flags.save, settings.scheme, order);
  Json curve = Json::array();
  for (const CurvePoint& point : result.curve) {
    curve.push_back({{"step", point.step},
                     {"loss", point.loss},
                     {"seen", to_json(point.seen)},
                     {"unseen", to_json(point.unseen)}});
  }
  const Json json = {{"format", "ropescope-miniature"},
                     {"order", order_name(order)},
                     {"settings", now},
                     {"start", start},
                     {"theta", theta},
                     {"curve", curve},
                     {"seconds", result.seconds}};
  write_whole(output, json.dump(1) + "\n");
  const CurvePoint& last = result.curve.back();
  std::cout << fmt::format(
      "{} theta {:g} seed {}: correspondence {:.3f} seen {:.3f} unseen, answers {:.3f} seen {:.3f} unseen, {:.0f} s\n",
      settings.scheme, theta, settings.seed, last.seen.correspondence.share(),
      last.unseen.correspondence.share(), last.seen.answers.share(), last.unseen.answers.share(),
      result.seconds);
  return 0;
}

struct TableFlags {
  std::string results, output;
  double theta = 1e4;

  void bind(Flags& flags) {
    flags.add("results", results, "folder of train's .json").required();
    flags.add("output", output, "prefix of .md, .csv, .h5 and .png").required();
    bind_theta(flags, theta, "of the curves");
  }
};

int table(const TableFlags& flags) {
  const fs::path results = flags.results;
  const std::string& prefix = flags.output;
  std::vector<fs::path> files;
  std::error_code code;
  for (const fs::directory_entry& entry : fs::directory_iterator(results, code)) {
    if (entry.path().extension() == ".json") files.push_back(entry.path());
  }
  if (files.empty()) throw InputError("{}: expected results of runs, found none", results.string());
  std::sort(files.begin(), files.end());
  std::vector<Run> runs;
  Provenance provenance;
  provenance.command = "ropescope-miniature table";
  for (const fs::path& file : files) {
    runs.push_back(parse_run(read_json_file(file), file.string()));
    provenance.add_input(file);
  }
  const std::vector<Row> rows =
      make_rows(runs, {"vanilla", "id-align", "id-align:newline=in_place", "id-align:resize=bilinear",
                       "v2pe:delta=0.5", "id-align+v2pe:delta=0.5", "mrope", "id-align+mrope",
                       "mrope-interleave", "id-align+mrope-interleave", "dipe"});
  const std::string pairs = paired_table(rows);
  const std::string markdown = markdown_table(rows) + (pairs.empty() ? "" : "\n" + pairs);
  write_whole(prefix + ".md", markdown);
  write_whole(prefix + ".csv", csv_table(rows));
  write_rows(prefix + ".h5", rows, provenance);
  draw_rows(prefix + ".png", rows, flags.theta);
  std::cout << markdown;
  return 0;
}

struct Command {
  std::string name, summary;
  /// Binds the command's flags; what it returns runs the command with what they were filled with.
  std::function<std::function<int()>(Flags&)> bind;
};

template <typename Fields>
Command make_command(std::string name, std::string summary, int (*run)(const Fields&)) {
  return {std::move(name), std::move(summary), [run](Flags& flags) {
            auto fields = std::make_shared<Fields>();
            fields->bind(flags);
            return [fields, run] { return run(*fields); };
          }};
}

const std::vector<Command>& commands() {
  static const std::vector<Command> all = {
      make_command("prepare", "pictures, the tower that sees them, and what it sees", prepare),
      make_command("text", "a decoder that knows retrieval, under one theta", text),
      make_command("train", "one scheme, one theta, one seed", train),
      make_command("table", "what the runs say together", table),
      make_command("draw", "pictures alone, seen and unseen", draw),
  };
  return all;
}

struct CommonFlags {
  int64_t threads = 1;
  bool quiet = false, help = false;

  void bind(Flags& flags) {
    flags.group("All of them");
    flags.add("threads", threads, "of LibTorch").at_least(0);
    flags.add("quiet", quiet, "no progress");
    flags.add("help", help, "this text");
  }
};

std::function<int()> bind_command(const Command& command, Flags& flags) {
  flags.group(fmt::format("{}: {}", command.name, command.summary));
  return command.bind(flags);
}

void print_help() {
  std::cout << "ropescope-miniature prepare | text | train | table | draw [flags]\n";
  for (const Command& command : commands()) {
    Flags flags;
    bind_command(command, flags);
    std::cout << flags.help();
  }
  Flags flags;
  CommonFlags common;
  common.bind(flags);
  std::cout << flags.help();
}

int dispatch(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "--help";
  if (name == "--help") {
    print_help();
    return argc > 1 ? 0 : 2;
  }
  const auto command = std::find_if(commands().begin(), commands().end(),
                                    [&](const Command& known) { return known.name == name; });
  if (command == commands().end()) {
    throw UsageError("expected prepare, text, train, table or draw, found \"{}\"", name);
  }
  Flags flags;
  const std::function<int()> run = bind_command(*command, flags);
  CommonFlags common;
  common.bind(flags);
  flags.parse(argc - 1, argv + 1, /*config=*/"", /*skip_checks=*/"help");
  if (common.help) {
    std::cout << flags.help();
    return 0;
  }
  set_threads(static_cast<int>(common.threads));
  set_quiet(common.quiet);
  return run();
}

}  // namespace

}  // namespace ropescope::miniature

int main(int argc, char** argv) {
  try {
    return ropescope::miniature::dispatch(argc, argv);
  } catch (const ropescope::Error& error) {
    fmt::print(stderr, "ropescope-miniature: {}\n", error.what());
    return error.exit_code();
  } catch (const std::exception& error) {
    fmt::print(stderr, "ropescope-miniature: internal error: {}\n", error.what());
    return 1;
  }
}
