#include "inputs/position_input.h"

#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/format.h>

#include <ATen/ops/zeros.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/vision/preprocess.h"

namespace ropescope::app::positions {

namespace {

/// Text around the picture of --anyres: about what a chat template and a short question take.
constexpr int64_t kTextBefore = 35, kTextAfter = 20;

/// Pictures of fewer pixels look like grids of tokens.
constexpr int64_t kSmallestPicture = 96;

constexpr const char* kDefaultPreset = "llava-next-clip";

/// No count that is asked for is larger.
constexpr double kMostCount = 1099511627776.0;             // 2^40
constexpr double kMostHeadDim = 65536, kMostHeads = 4096;  // beyond any model

/// {width, height} of "1024x768", none for another form.
std::optional<std::array<int64_t, 2>> image_size(const std::string& text) {
  std::array<int64_t, 2> size{};
  const char* const last = text.data() + text.size();
  const auto [middle, first_code] = std::from_chars(text.data(), last, size[0]);
  if (first_code != std::errc() || middle == last || *middle != 'x') return std::nullopt;
  const auto [end, second_code] = std::from_chars(middle + 1, last, size[1]);
  if (second_code != std::errc() || end != last || size[0] < 1 || size[1] < 1) return std::nullopt;
  return size;
}

Layout anyres_layout(const std::string& text, const std::string& preset) {
  std::string block = text;
  if (text.find('+') == std::string::npos) {
    const auto size = image_size(text);
    if (!size || (*size)[0] > INT32_MAX || (*size)[1] > INT32_MAX) {
      throw UsageError(
          "--anyres: expected an image's WIDTHxHEIGHT like 1024x768, or grids like 24x24+48x48, found "
          "\"{}\"",
          text);
    }
    if (std::max((*size)[0], (*size)[1]) <= kSmallestPicture) {
      log_warning(
          "--anyres {0}: taken for a picture {1} pixels wide and {2} high; a grid of {1} rows and {2} columns of tokens is --layout image:{0}, or ROWSxCOLUMNS+ROWSxCOLUMNS here",
          text, (*size)[0], (*size)[1]);
    }
    const PreprocessSettings settings = preset_settings(preset);
    if (!settings.anyres) {
      throw UsageError("--preset {}: expected llava-next-clip or llava-next-siglip, which cut into tiles",
                       preset);
    }
    const AnyresGeometry geometry = anyres_geometry((*size)[0], (*size)[1], *settings.anyres);
    block = fmt::format("{}x{}+{}x{}", geometry.thumbnail_HW[0], geometry.thumbnail_HW[1],
                        geometry.feat_H1W1[0], geometry.feat_H1W1[1]);
    if (!geometry.newline) block += ":no-newline";
  }
  try {
    return parse_layout(fmt::format("text:{},anyres:{},text:{}", kTextBefore, block, kTextAfter));
  } catch (const UsageError& error) {
    throw UsageError("--anyres {}: {}", text, error.what());
  }
}

std::vector<Layout> read_layouts(const PositionsFlags& flags) {
  const int given = flags.layout.has_value() + flags.layout_file.has_value() + flags.anyres.has_value();
  if (given != 1) {
    throw UsageError("expected one of --layout, --layout-file and --anyres, found {}; see --help",
                     given == 0 ? "none" : "several");
  }
  if (flags.preset && !flags.anyres) throw UsageError("--preset belongs to --anyres WIDTHxHEIGHT");
  if (flags.layout) return {parse_layout(*flags.layout)};
  if (flags.anyres) return {anyres_layout(*flags.anyres, flags.preset.value_or(kDefaultPreset))};
  return layouts_from_json(read_json_file(*flags.layout_file), *flags.layout_file);
}

/// Sections that do not divide the head are an error of the command, whether a table is asked for or not.
void check_sections(const PositionRequest& request) {
  for (const Scheme& scheme : request.schemes) {
    scheme.frequencies(request.rope, head_dim_of(scheme, request.head_dim),
                       kv_heads_of(scheme, request.kv_heads), request.context, 1.0);
  }
}

}  // namespace

namespace {

FopeCoefficients read_fope_coefficients(const PositionsFlags& flags, const PositionRequest& request) {
  if (!flags.output) throw UsageError("--fope-coefficients: expected --output, where the tables go");
  if (request.rope.type != RopeType::kFope) {
    throw UsageError("--fope-coefficients: expected --rope-scaling of type \"fope\", found \"{}\"",
                     rope_type_name(request.rope.type));
  }
  for (const Scheme& scheme : request.schemes) {
    if (scheme.axes() == 1) continue;
    throw UsageError("--fope-coefficients: expected schemes with one row of ids, found {}, which has {}",
                     scheme.text(), scheme.axes());
  }
  const auto file = open_checkpoint(*flags.fope_coefficients);
  const auto take = [&](const char* name) {
    if (file->find(name) != nullptr) return file->take(name, at::kDouble);
    throw InputError("{}: expected tensors cos_coef and sin_coef, found no {}", *flags.fope_coefficients,
                     name);
  };
  const FopeCoefficients coefficients{take("cos_coef"), take("sin_coef")};
  try {
    fope_sums(at::zeros({1}, at::kDouble),
              make_frequencies(request.rope, request.head_dim.value_or(128), request.context, 1.0),
              coefficients);
  } catch (const InputError& error) {
    throw InputError("{}: {}", *flags.fope_coefficients, error.what());
  }
  return coefficients;
}

}  // namespace

int64_t PositionRequest::bias_heads_of(const Scheme& scheme) const {
  return scheme.bias_heads().value_or(kv_heads.value_or(8));
}

void PositionsFlags::bind(Flags& flags) {
  flags.group("Schemes and layouts");
  flags
      .add(
          "scheme", scheme,
          "position encodings, several separated by ';', for example \"vanilla;id-align;mrope:sections=16/24/24\"")
      .alias("schemes");
  flags.add("list", list, "list the schemes with parameters, defaults and sources, and stop");
  flags.add("layout", layout, "what the tokens are, for example text:5,anyres:24x24+48x48,text:7");
  flags.add("layout-file", layout_file,
            "JSON file: a list of segments, or {\"layouts\":[{\"name\":...,\"segments\":[...]},...]}");
  flags.add(
      "anyres", anyres,
      "in place of a layout: an image's WIDTHxHEIGHT in pixels (width first), or, with a +, grids of ROWSxCOLUMNS tokens like 24x24+48x48 (rows first, as in every layout), between 35 and 20 tokens of text; --json prints one object a line for each scheme and layout");
  flags.add("preset", preset, "how --anyres WIDTHxHEIGHT is cut: llava-next-clip or llava-next-siglip")
      .shown_default(kDefaultPreset);
  flags.group("Measurements");
  flags.add("criteria", criteria, "the three criteria of arXiv 2510.23095");
  flags.add("misalignment", misalignment,
            "high-resolution tokens on wrong thumbnail ids, and distances thumbnail - high-res - text");
  flags.add("context", context, "trained context, tokens: how many positions lie beyond it")
      .between(1, kMostCount);
  flags.add("mask", mask, "with --json, which keys every query may see, as strings of 0 and 1");
  flags.group("Rotation (criteria and --output)");
  flags.add("head-dim", head_dim, "channels of a head; 128, or what the scheme's sections ask for")
      .between(1, kMostHeadDim);
  flags.add("kv-heads", kv_heads, "key/value heads; 1, or what the scheme's sections ask for")
      .between(1, kMostHeads);
  rope.bind(flags);
  flags.add(
      "fope-coefficients", fope_coefficients,
      "safetensors file: cos_coef and sin_coef [key/value heads, frequency, channel] of a FoPE model, for --output; "
      "with --rope-scaling {\"rope_type\":\"fope\",...}");
  flags.group("Output");
  flags.add("plot", plot, "picture: the layout coloured by id (.png, .svg, .pdf)");
  flags.add("markdown", markdown, "tables as Markdown");
  flags.add("output", output, "result file, for example positions.h5");
}

PositionRequest read_position_request(const PositionsFlags& flags) {
  PositionRequest request;
  for (const std::string& text : split_scheme_list(required_text(flags.scheme, "scheme"))) {
    request.schemes.emplace_back(text);
  }
  request.layouts = read_layouts(flags);
  request.rope = flags.rope.over({});
  request.head_dim = flags.head_dim;
  if (request.head_dim.value_or(2) % 2 != 0) {
    throw UsageError("--head-dim: expected an even number, found {}", *request.head_dim);
  }
  request.kv_heads = flags.kv_heads;
  request.context = flags.context.value_or(0);
  check_sections(request);
  if (flags.fope_coefficients) request.fope = read_fope_coefficients(flags, request);
  request.criteria = flags.criteria;
  request.misalignment = flags.misalignment;
  request.mask = flags.mask;
  return request;
}

}  // namespace ropescope::app::positions
