// ropescope-miniature <prepare | text | train | table>: the steps of experiments/miniature/run.sh; draw:
// pictures alone.
#include <algorithm>
#include <iostream>
#include <system_error>

#include <boost/program_options.hpp>
#include <fmt/format.h>

#include "ropescope/core/device.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/vision/preprocess.h"
#include "ropescope/weights/safetensors_writer.h"

#include "album.h"
#include "lessons.h"
#include "model.h"
#include "table.h"
#include "visual.h"

namespace ropescope::miniature {

namespace {

namespace fs = std::filesystem;
namespace po = boost::program_options;

template <typename T>
T get(const po::variables_map& values, const char* name) {
  if (values.count(name) == 0) throw UsageError("--{} is required; see --help", name);
  return values[name].as<T>();
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

/// Pictures, the tower that has learned to see them, and what it sees:
/// FROM/{pictures,eyes,features.safetensors}.
int prepare(const po::variables_map& values) {
  const fs::path output = get<std::string>(values, "output");
  const auto seed = get<uint64_t>(values, "seed");
  LessonSettings lesson;
  lesson.steps = get<int64_t>(values, "tower-steps");
  lesson.batch = get<int64_t>(values, "tower-batch");
  lesson.learning_rate = get<double>(values, "tower-rate");
  lesson.seed = seed;
  ModelSize size;
  size.width = get<int64_t>(values, "width");
  size.heads = get<int64_t>(values, "heads");
  size.layers = get<int64_t>(values, "layers");
  size.inner = 2 * size.width;
  const auto train = get<int64_t>(values, "pictures"), test = get<int64_t>(values, "test-pictures");
  const Json settings = {{"seed", seed},          {"pictures", train},     {"test_pictures", test},
                         {"width", size.width},   {"heads", size.heads},   {"layers", size.layers},
                         {"steps", lesson.steps}, {"batch", lesson.batch}, {"rate", lesson.learning_rate}};
  const fs::path report_file = output / "prepared.json";
  if (read_if_there(report_file).value("settings", Json()) == settings) return 0;
  draw_album(output / "pictures/train", "train", train, seen_shapes(), seed);
  draw_album(output / "pictures/seen", "seen", test, seen_shapes(), seed);
  draw_album(output / "pictures/unseen", "unseen", test, unseen_shapes(), seed);
  Llava llava = fresh_model(size, 1e4, seed);
  save_model(llava, output / "eyes");
  const PreprocessSettings preprocess = read_preprocess_settings(output / "eyes");
  std::vector<std::pair<std::string, Album>> albums;
  for (const char* name : {"train", "seen", "unseen"}) {
    albums.emplace_back(name, open_album(output / "pictures" / name, preprocess));
  }
  const TowerReport report = teach_tower(llava, albums[0].second, albums[1].second, lesson);
  save_model(llava, output / "eyes");
  for (auto& [name, album] : albums) look_at(album, llava);
  save_albums(output / "features.safetensors", albums);
  const Json result = {{"settings", settings},
                       {"colour", report.colour},
                       {"glyph", report.glyph},
                       {"glyph_in_thumbnail", report.glyph_in_thumbnail},
                       {"colour_in_tile", report.colour_in_tile}};
  write_whole(report_file, result.dump(2) + "\n");
  std::cout << result.dump() << "\n";
  return 0;
}

/// Pictures that no model was trained on: OUTPUT/{seen,unseen}.
int draw(const po::variables_map& values) {
  const fs::path output = get<std::string>(values, "output");
  const auto count = get<int64_t>(values, "pictures");
  const auto seed = get<uint64_t>(values, "seed");
  draw_album(output / "seen", "questions seen", count, seen_shapes(), seed);
  draw_album(output / "unseen", "questions unseen", count, unseen_shapes(), seed);
  return 0;
}

/// A decoder that knows retrieval, under one theta: FROM/start-<theta>.
int text(const po::variables_map& values) {
  const fs::path from = get<std::string>(values, "from");
  const auto theta = get<double>(values, "theta");
  LessonSettings lesson;
  lesson.steps = get<int64_t>(values, "text-steps");
  lesson.batch = get<int64_t>(values, "text-batch");
  lesson.learning_rate = get<double>(values, "text-rate");
  lesson.seed = get<uint64_t>(values, "seed");
  const Json settings = {{"eyes", read_if_there(from / "prepared.json")},
                         {"theta", theta},
                         {"steps", lesson.steps},
                         {"batch", lesson.batch},
                         {"rate", lesson.learning_rate},
                         {"seed", lesson.seed}};
  const fs::path folder = start_folder(from, theta);
  const fs::path report_file = folder.string() + ".json";
  if (read_if_there(report_file).value("settings", Json()) == settings) return 0;
  Llava llava = load_model(from / "eyes");
  llava.config.decoder.rope.theta = llava.decoder.config.rope.theta = theta;
  const double right = teach_text(llava, lesson);
  save_model(llava, folder);
  const Json result = {{"settings", settings}, {"answers", right}};
  write_whole(report_file, result.dump(2) + "\n");
  std::cout << fmt::format("theta {:g}: {:.4f} of the questions about text answered\n", theta, right);
  return 0;
}

Json to_json(const Score& score) { return {{"right", score.right}, {"asked", score.asked}}; }
Json to_json(const Measures& measures) {
  return {{"correspondence", to_json(measures.correspondence)}, {"answers", to_json(measures.answers)}};
}

/// One scheme, one theta, one seed.
int train(const po::variables_map& values) {
  const fs::path from = get<std::string>(values, "from"), output = get<std::string>(values, "output");
  const auto theta = get<double>(values, "theta");
  VisualSettings settings;
  settings.scheme = get<std::string>(values, "scheme");
  settings.steps = get<int64_t>(values, "steps");
  settings.batch = get<int64_t>(values, "batch");
  settings.questions = get<int64_t>(values, "questions");
  settings.learning_rate = get<double>(values, "rate");
  settings.correspondence = get<double>(values, "correspondence");
  settings.measure_every = get<int64_t>(values, "measure-every");
  settings.measure_pictures = get<int64_t>(values, "measure-pictures");
  settings.seed = get<uint64_t>(values, "seed");
  if (settings.questions < 1 || settings.questions > kCells) {
    throw UsageError("--questions: expected 1 to {}, found {}", kCells, settings.questions);
  }
  const Json start = read_if_there(start_folder(from, theta).string() + ".json");
  const Json now = to_json(settings);
  const Json before = read_if_there(output);
  const std::string save = values.count("save") > 0 ? get<std::string>(values, "save") : "";
  if (before.is_object() && before.value("settings", Json()) == now &&
      before.value("start", Json()) == start &&
      (save.empty() || fs::exists(fs::path(save) / "config.json"))) {
    return 0;
  }
  Llava llava = load_model(start_folder(from, theta));
  const fs::path features = from / "features.safetensors";
  const VisualResult result =
      teach_pictures(llava, load_album(features, "train"), load_album(features, "seen"),
                     load_album(features, "unseen"), settings);
  if (!save.empty()) save_model(llava, save);
  Json curve = Json::array();
  for (const CurvePoint& point : result.curve) {
    curve.push_back({{"step", point.step},
                     {"loss", point.loss},
                     {"seen", to_json(point.seen)},
                     {"unseen", to_json(point.unseen)}});
  }
  const Json json = {{"format", "ropescope-miniature"},
                     {"settings", now},
                     {"start", start},
                     {"theta", theta},
                     {"curve", curve},
                     {"seconds", result.seconds}};
  write_whole(output, json.dump(1) + "\n");
  const CurvePoint& last = result.curve.back();
  std::cout << fmt::format(
      "{} theta {:g} seed {}: correspondence {:.3f} seen {:.3f} unseen, answers {:.3f} seen {:.3f} unseen, "
      "{:.0f} s\n",
      settings.scheme, theta, settings.seed, last.seen.correspondence.share(),
      last.unseen.correspondence.share(), last.seen.answers.share(), last.unseen.answers.share(),
      result.seconds);
  return 0;
}

int table(const po::variables_map& values) {
  const fs::path results = get<std::string>(values, "results");
  const auto prefix = get<std::string>(values, "output");
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
  const std::vector<Row> rows = make_rows(
      runs, {"vanilla", "id-align", "id-align:resize=bilinear", "v2pe:delta=0.5", "id-align+v2pe:delta=0.5",
             "mrope", "id-align+mrope", "mrope-interleave", "id-align+mrope-interleave", "dipe"});
  const std::string markdown = markdown_table(rows);
  write_whole(prefix + ".md", markdown);
  write_whole(prefix + ".csv", csv_table(rows));
  write_rows(prefix + ".h5", rows, provenance);
  draw_rows(prefix + ".png", rows, get<double>(values, "theta"));
  std::cout << markdown;
  return 0;
}

po::options_description options() {
  po::options_description all("Options", 110, 60);
  const auto text_value = [] { return po::value<std::string>(); };
  const auto count = [](int64_t value) { return po::value<int64_t>()->default_value(value); };
  const auto number = [](double value, const char* shown) {
    return po::value<double>()->default_value(value, shown);
  };
  all.add_options()("help", "this text")  //
      ("output", text_value(),
       "prepare, draw: folder; train: .json; table: prefix of .md, .csv, .h5 and .png")(
          "seed", po::value<uint64_t>()->default_value(0), "of pictures, weights and order")(
          "threads", po::value<int>()->default_value(1), "of LibTorch")  //
      ("quiet", po::bool_switch(), "no progress")("pictures", count(2048),
                                                  "prepare: to train on; draw: of each kind")(
          "test-pictures", count(256), "prepare: to measure on, of each kind")(
          "width", count(96), "prepare: channels of the decoder")(
          "heads", count(3), "prepare: of the decoder")("layers", count(3), "prepare: of the decoder")(
          "tower-steps", count(500), "prepare: steps of the tower")(
          "tower-batch", count(128), "prepare: tiles a step")("tower-rate", number(3e-3, "3e-3"), "prepare")(
          "from", text_value(), "text, train: the folder that prepare filled")(
          "theta", number(1e4, "1e4"), "text, train: base of the rotation; table: of the curves")(
          "text-steps", count(1000), "text: at most so many steps")(
          "text-batch", count(32), "text: rows a step")("text-rate", number(3e-3, "3e-3"), "text")(
          "scheme", po::value<std::string>(), "train: position encoding")(
          "steps", count(400), "train: steps")("batch", count(16), "train: pictures a step")(
          "questions", count(8), "train: of a picture")("rate", number(2e-3, "2e-3"),
                                                        "train: peak learning rate")(
          "correspondence", number(1.0, "1"),
          "train: weight of the cells' colours as targets; 0: answers only")(
          "measure-every", count(25), "train: steps")("measure-pictures", count(64), "train: on the way")(
          "save", text_value(), "train: folder for the trained model")("results", text_value(),
                                                                       "table: folder of train's .json");
  return all;
}

int dispatch(int argc, char** argv) {
  const std::string command = argc > 1 ? argv[1] : "--help";
  const po::options_description known = options();
  if (command == "--help") {
    std::cout << "ropescope-miniature prepare | text | train | table | draw [options]\n" << known;
    return argc > 1 ? 0 : 2;
  }
  po::variables_map values;
  try {
    po::store(po::command_line_parser(argc - 1, argv + 1)
                  .options(known)
                  .style(po::command_line_style::unix_style & ~po::command_line_style::allow_guessing)
                  .run(),
              values);
    po::notify(values);
  } catch (const po::error& error) {
    throw UsageError("{}; --help lists the flags", error.what());
  }
  set_threads(values["threads"].as<int>());
  set_quiet(values["quiet"].as<bool>());
  if (command == "prepare") return prepare(values);
  if (command == "text") return text(values);
  if (command == "train") return train(values);
  if (command == "table") return table(values);
  if (command == "draw") return draw(values);
  throw UsageError("expected prepare, text, train, table or draw, found \"{}\"", command);
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
