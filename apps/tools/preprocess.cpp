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
#include "ropescope/core/nearest_name.h"
#include "ropescope/vision/frame_sampling.h"
#include "ropescope/vision/media_processor.h"

#include "inputs/model_folder.h"
#include "tools/preprocess_flags.h"

namespace ropescope::app {

namespace preprocess {

namespace {

/// A cell of a table: an array's members with blanks between them.
std::string text_of(const Json& value) {
  if (value.is_null()) return "-";
  if (!value.is_array()) return value.dump();
  std::string text;
  for (const Json& part : value) text += (text.empty() ? "" : " ") + part.dump();
  return text.empty() ? "-" : text;
}

/// The presets of vision towers and LLaVA-NeXT, then those of the other families.
std::vector<std::string> all_presets() {
  std::vector<std::string> names = {"clip", "siglip", "llava-next-clip", "llava-next-siglip"};
  for (const std::string& name : media_preset_names()) names.push_back(name);
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
  if (flags.frames || flags.video || flags.fps || flags.min_pixels || flags.max_pixels || flags.nested) {
    throw UsageError(
        "--frames, --video, --fps, --min-pixels, --max-pixels and --nested: expected a family that they are for, found "
        "LLaVA-NeXT or a vision tower");
  }
  std::optional<PinpointRule> rule;
  if (flags.pinpoints) rule = parse_pinpoint_rule(*flags.pinpoints);
  if (flags.model) return read_preprocess_settings(*flags.model, rule);
  const std::vector<std::string> presets = all_presets();
  if (std::find(presets.begin(), presets.end(), *flags.preset) == presets.end()) {
    const std::string near = nearest_name(*flags.preset, presets);
    throw UsageError("--preset: expected one of {}, found \"{}\"{}", fmt::join(presets, ", "), *flags.preset,
                     near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near));
  }
  PreprocessSettings settings = preset_settings(*flags.preset);
  if (settings.anyres && rule) settings.anyres->rule = *rule;
  return settings;
}

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

  const auto writer = open_output(flags, invocation, names);
  if (writer) write_settings(*writer, settings, decode);
  Report report(invocation.settings, geometry_of(64, 64, settings));
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
  if (int{flags.image.has_value()} + int{flags.video.has_value()} + int{flags.sizes.has_value()} != 1) {
    throw UsageError("expected one of --image and --sizes (or --video); see --help");
  }
  if (flags.frames && !flags.sizes) throw UsageError("--frames is for --sizes");
  if (flags.fps && !flags.video) throw UsageError("--fps is for --video");
  if (flags.output && flags.sizes) throw UsageError("--output: --sizes has no pixels to write; give --image");
  if (wants_media(flags)) {
    run_media(flags, invocation);
    return 0;
  }
  const PreprocessSettings settings = chosen_settings(flags);
  if (flags.image) {
    run_images(flags, invocation, settings);
    return 0;
  }
  Report report(invocation.settings, geometry_of(64, 64, settings));
  for (const auto& [width, height] : parse_sizes(*flags.sizes))
    report.add(geometry_of(width, height, settings), "-");
  return 0;
}

}  // namespace

void PreprocessFlags::bind(Flags& flags) {
  flags.group("Settings");
  flags.add("model", model, "folder with preprocessor_config.json or config.json").stands_for(opened_model);
  flags.add("preset", preset, fmt::format("settings of public models: {}", fmt::join(all_presets(), ", ")));
  flags.add(
      "pinpoints", pinpoints,
      "how grid pinpoints are read: hf (height, width) or original (width, height); unless given as the model's form does, hf for a preset");
  flags
      .add(
          "min-pixels", min_pixels,
          "Qwen, GLM: least area in pixels, in place of the settings' (with --frames or --video that of clips)")
      .between(1, 1e12);
  flags.add("max-pixels", max_pixels, "Qwen, GLM: greatest area in pixels, likewise").between(1, 1e12);
  flags.add(
      "nested", nested,
      "llava-onevision: several images are those of one prompt, as a chat template passes them, and not tiled");
  decode.bind(flags);
  flags.group("Images");
  flags.add("image", image, "JPEG, PNG, WebP, TIFF, GIF or BMP files, separated by commas");
  flags.add("video", video, "Qwen, GLM: video files or folders of frames, separated by commas");
  flags
      .add(
          "fps", fps,
          "of --video: frames a second to take, in place of the settings' rule; of a folder of frames: those it has")
      .between(1e-3, 1e4);
  flags.add("sizes", sizes, "geometry of sizes alone, for example 640x427,1x20000");
  flags.add("frames", frames, "Qwen, GLM: the sizes are those of clips of so many frames, all kept")
      .between(1, static_cast<double>(kMostSampledFrames));
  flags.group("Output");
  flags.add(
      "output", output,
      "result file with /image/<i>/{rgb,tiles,pixel_values} (Qwen, GLM: patches for tiles) and what else the model's processor makes, under its names; /video/<i>/ likewise");
}

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

std::vector<std::array<int64_t, 2>> parse_sizes(const std::string& text) {
  std::vector<std::array<int64_t, 2>> sizes;
  for (const std::string& size : split_names(text, "sizes")) sizes.push_back(parse_size(size));
  return sizes;
}

std::unique_ptr<ResultWriter> open_output(const PreprocessFlags& flags, const Invocation& invocation,
                                          const std::vector<std::string>& names) {
  if (!flags.output) return nullptr;
  Provenance provenance = invocation.provenance();
  for (const std::string& name : names) {
    if (!std::filesystem::is_directory(name)) {
      provenance.add_input(name);
      continue;
    }
    for (const auto& frame : std::filesystem::directory_iterator(name)) {
      if (frame.is_regular_file()) provenance.add_input(frame.path());
    }
  }
  for (const char* file : {"config.json", "preprocessor_config.json", "processor_config.json",
                           "video_preprocessor_config.json"}) {
    if (!flags.model) break;
    const auto path = std::filesystem::path(*flags.model) / file;
    if (std::filesystem::is_regular_file(path)) provenance.add_input(path);
  }
  return std::make_unique<ResultWriter>(required_text(*flags.output, "output"), provenance,
                                        invocation.settings.force);
}

Report::Report(const CommonSettings& settings, const Json& sample) : settings_(settings) {
  for (const char* known :
       {"size_wh",      "frames",     "best_wh",     "best_hw",         "tiles_cols_rows", "rows_cols",
        "resized_wh",   "first_hw",   "second_hw",   "resized_hw",      "crop_top_left",   "pad_ltrb",
        "feat_full_HW", "feat_H1W1",  "H1W1",        "feat_offset_rc",  "grid_thw",        "crops_hw",
        "newlines",     "source_fps", "sampled_fps", "second_per_grid", "tokens"}) {
    if (sample.contains(known)) columns_.emplace_back(known);
  }
}

void Report::add(const Json& geometry, const std::string& name) {
  if (settings_.json) {
    fmt::print("{}\n", geometry.dump());
    return;
  }
  if (std::exchange(first_, false)) {  // not before the first image has been read
    for (const std::string& column : columns_) print_cell(column);
    fmt::print("{}\n", settings_.csv ? "image" : "  image");
  }
  for (const std::string& column : columns_) {
    const Json* value = json_find(geometry, column.c_str());
    print_cell(value == nullptr ? "-" : text_of(*value));
  }
  const Json* error = json_find(geometry, "error");
  fmt::print("{}{}\n", settings_.csv ? "" : "  ", error == nullptr ? name : error->get<std::string>());
}

void Report::print_cell(const std::string& text) const {
  if (settings_.csv) {
    fmt::print("{},", text);
  } else {
    fmt::print("{:>16}", text);
  }
}

}  // namespace preprocess

extern const Command kPreprocess;
const Command kPreprocess = make_command<preprocess::PreprocessFlags>(
    "preprocess",
    "Makes tiles, pixel values and token geometry of images, equal to the reference image processors.",
    "ropescope preprocess --preset llava-next-clip --image photo.jpg --json --output photo.h5",
    kThreads | kWrites | kTables, preprocess::run);

}  // namespace ropescope::app
