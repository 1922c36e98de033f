// ropescope preprocess: what a vision tower gets of an image, and where its tokens lie.
#include "ropescope/vision/preprocess.h"

#include <array>
#include <charconv>
#include <filesystem>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ropescope/core/errors.h"

#include "command.h"
#include "inputs/image_input.h"
#include "inputs/model_folder.h"

namespace ropescope::app {

namespace preprocess {

namespace {

struct PreprocessFlags {
  std::optional<std::string> model, preset, pinpoints, image, sizes, output;
  DecodeFlags decode;

  void bind(Flags& flags) {
    flags.group("Settings");
    flags.add("model", model, "folder with preprocessor_config.json or config.json").stands_for(opened_model);
    flags.add("preset", preset, "clip, siglip, llava-next-clip or llava-next-siglip");
    flags.add(
        "pinpoints", pinpoints,
        "how grid pinpoints are read: hf (height, width) or original (width, height); unless given as the model's form does, hf for a preset");
    decode.bind(flags);
    flags.group("Images");
    flags.add("image", image, "JPEG, PNG, WebP, TIFF, GIF or BMP files, separated by commas");
    flags.add("sizes", sizes, "geometry of sizes alone, for example 640x427,1x20000");
    flags.group("Output");
    flags.add("output", output, "result file with /image/<i>/{rgb,tiles,pixel_values}");
  }
};

std::vector<std::string> split_names(const std::string& text, const char* flag) {
  std::vector<std::string> names;
  std::stringstream stream(text);
  for (std::string name; std::getline(stream, name, ',');) {
    if (name.empty()) throw UsageError("--{}: expected names separated by commas, found an empty one", flag);
    names.push_back(name);
  }
  if (names.empty()) throw UsageError("--{}: expected at least one, found none", flag);
  return names;
}

std::array<int64_t, 2> parse_size(const std::string& text) {
  std::array<int64_t, 2> size{};
  const char* const last = text.data() + text.size();
  const auto [middle, first_code] = std::from_chars(text.data(), last, size[0]);
  const bool has_cross = first_code == std::errc() && middle != last && *middle == 'x';
  const auto [end, second_code] = std::from_chars(has_cross ? middle + 1 : last, last, size[1]);
  if (!has_cross || second_code != std::errc() || end != last || size[0] < 1 || size[1] < 1 ||
      size[0] > INT32_MAX || size[1] > INT32_MAX) {
    throw UsageError("--sizes: expected WIDTHxHEIGHT like 640x427, found \"{}\"", text);
  }
  return size;
}

PreprocessSettings chosen_settings(const PreprocessFlags& flags) {
  if (flags.model.has_value() == flags.preset.has_value()) {
    throw UsageError("expected one of --model and --preset; see --help");
  }
  std::optional<PinpointRule> rule;
  if (flags.pinpoints) rule = parse_pinpoint_rule(*flags.pinpoints);
  if (flags.model) return read_preprocess_settings(*flags.model, rule);
  PreprocessSettings settings = preset_settings(*flags.preset);
  if (settings.anyres && rule) settings.anyres->rule = *rule;
  return settings;
}

/// Lines of the result as they come: JSON objects, CSV or a table.
class Report {
 public:
  explicit Report(const CommonSettings& settings, bool anyres) : settings_(settings) {
    if (settings.json) return;
    columns_ = {"size_wh"};
    if (anyres) {
      columns_ = {"size_wh",      "best_wh",   "tiles_cols_rows", "resized_wh", "pad_ltrb",
                  "feat_full_HW", "feat_H1W1", "feat_offset_rc",  "tokens"};
    }
  }

  void add(const Json& geometry, const std::string& name) {
    if (settings_.json) {
      fmt::print("{}\n", geometry.dump());
      return;
    }
    if (std::exchange(first_, false)) {  // not before the first image has been read
      for (const std::string& column : columns_) print_cell(column);
      fmt::print("{}\n", settings_.csv ? "image" : "  image");
    }
    for (const std::string& column : columns_) print_cell(text_of(geometry[column]));
    fmt::print("{}{}\n", settings_.csv ? "" : "  ", name);
  }

 private:
  void print_cell(const std::string& text) const {
    if (settings_.csv) {
      fmt::print("{},", text);
    } else {
      fmt::print("{:>16}", text);
    }
  }
  static std::string text_of(const Json& value) {
    if (value.is_null()) return "-";
    if (!value.is_array()) return value.dump();
    std::string text;
    for (const Json& part : value) text += (text.empty() ? "" : " ") + part.dump();
    return text;
  }

  const CommonSettings& settings_;
  std::vector<std::string> columns_;
  bool first_ = true;
};

Json geometry_of(int64_t width, int64_t height, const PreprocessSettings& settings) {
  if (settings.anyres) return to_json(anyres_geometry(width, height, *settings.anyres));
  return {{"size_wh", {width, height}}};
}

void write_settings(ResultWriter& writer, const PreprocessSettings& settings, const DecodeOptions& decode) {
  writer.attribute("/image", "settings", settings.name);
  writer.attribute("/image", "alpha", decode.alpha == AlphaRule::kWhite ? "white" : "drop");
  writer.attribute("/image", "exif", decode.exif == ExifRule::kApply ? "apply" : "ignore");
  if (settings.anyres) {
    writer.attribute("/image", "pinpoints", pinpoint_rule_name(settings.anyres->rule));
  }
}

void run_images(const PreprocessFlags& flags, const Invocation& invocation,
                const PreprocessSettings& settings) {
  const DecodeOptions decode = flags.decode.options();
  const std::vector<std::string> names = split_names(*flags.image, "image");

  std::unique_ptr<ResultWriter> writer;
  if (flags.output) {
    Provenance provenance = invocation.provenance();
    for (const std::string& name : names) provenance.add_input(name);
    for (const char* file : {"config.json", "preprocessor_config.json", "processor_config.json"}) {
      if (!flags.model) break;
      const auto path = std::filesystem::path(*flags.model) / file;
      if (std::filesystem::is_regular_file(path)) provenance.add_input(path);
    }
    writer = std::make_unique<ResultWriter>(required_text(*flags.output, "output"), provenance,
                                            invocation.settings.force);
    write_settings(*writer, settings, decode);
  }
  Report report(invocation.settings, settings.anyres.has_value());
  // One image at a time: only one lies in memory.
  for (size_t i = 0; i < names.size(); ++i) {
    const at::Tensor rgb = read_rgb(names[i], decode);
    if (writer) {
      const std::string group = fmt::format("/image/{}/", i);
      const PreprocessedImage prepared = preprocess_image(rgb, settings);
      writer->write(group + "rgb", rgb);
      writer->write(group + "tiles", prepared.tiles);
      writer->write(group + "pixel_values", prepared.pixel_values);
      writer->attribute(group.substr(0, group.size() - 1), "name",
                        std::filesystem::path(names[i]).filename().string());
    }
    report.add(geometry_of(rgb.size(1), rgb.size(0), settings), names[i]);
  }
  if (writer) writer->commit();
}

int run(const PreprocessFlags& flags, const Invocation& invocation) {
  if (flags.image.has_value() == flags.sizes.has_value()) {
    throw UsageError("expected one of --image and --sizes; see --help");
  }
  const PreprocessSettings settings = chosen_settings(flags);
  if (flags.image) {
    run_images(flags, invocation, settings);
    return 0;
  }
  if (flags.output) throw UsageError("--output: --sizes has no pixels to write; give --image");
  std::vector<std::array<int64_t, 2>> sizes;
  for (const std::string& text : split_names(*flags.sizes, "sizes")) {
    sizes.push_back(parse_size(text));
  }
  Report report(invocation.settings, settings.anyres.has_value());
  for (const auto& [width, height] : sizes) report.add(geometry_of(width, height, settings), "-");
  return 0;
}

}  // namespace

}  // namespace preprocess

extern const Command kPreprocess;
const Command kPreprocess = make_command<preprocess::PreprocessFlags>(
    "preprocess",
    "Makes tiles, pixel values and token geometry of images, equal to the reference image processors.",
    "ropescope preprocess --preset llava-next-clip --image photo.jpg --json --output photo.h5",
    kThreads | kWrites | kTables, preprocess::run);

}  // namespace ropescope::app
