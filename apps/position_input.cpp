#include "position_input.h"

#include <charconv>

#include "ropescope/core/errors.h"
#include "ropescope/vision/preprocess.h"

#include "trace_tensors.h"

namespace ropescope::app {

namespace {

/// Text around the picture of --anyres: about what a chat template and a short question take.
constexpr int64_t kTextBefore = 35, kTextAfter = 20;

std::optional<int64_t> positive_integer(const Arguments& arguments, const char* flag) {
  if (!arguments.has(flag)) return std::nullopt;
  const auto value = arguments.get<int64_t>(flag);
  if (value < 1 || value > (int64_t{1} << 40)) {
    throw UsageError("--{}: expected a number of at least 1, found {}", flag, value);
  }
  return value;
}

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

Layout anyres_layout(const Arguments& arguments) {
  const std::string text = arguments.get<std::string>("anyres");
  const std::string preset = arguments.get<std::string>("preset");
  std::string block = text;
  if (text.find('+') == std::string::npos) {
    const auto size = image_size(text);
    if (!size || (*size)[0] > INT32_MAX || (*size)[1] > INT32_MAX) {
      throw UsageError(
          "--anyres: expected an image's WIDTHxHEIGHT like 1024x768, or grids like 24x24+48x48, found "
          "\"{}\"",
          text);
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

std::vector<Layout> read_layouts(const Arguments& arguments) {
  const int given = arguments.has("layout") + arguments.has("layout-file") + arguments.has("anyres");
  if (given != 1) {
    throw UsageError("expected one of --layout, --layout-file and --anyres, found {}; see --help",
                     given == 0 ? "none" : "several");
  }
  if (arguments.has("preset") && !arguments.has("anyres")) {
    throw UsageError("--preset belongs to --anyres WIDTHxHEIGHT");
  }
  if (arguments.has("layout")) return {parse_layout(arguments.get<std::string>("layout"))};
  if (arguments.has("anyres")) return {anyres_layout(arguments)};
  const std::string path = arguments.get<std::string>("layout-file");
  return layouts_from_json(read_json_file(path), path);
}

}  // namespace

int64_t PositionRequest::head_dim_of(const Scheme& scheme) const {
  if (head_dim) return *head_dim;
  const std::optional<int64_t> channels = scheme.sectioned_channels();
  return channels ? 2 * *channels : 128;
}

int64_t PositionRequest::bias_heads_of(const Scheme& scheme) const {
  return scheme.bias_heads().value_or(kv_heads.value_or(8));
}

std::vector<po::options_description> position_options() {
  po::options_description input("Schemes and layouts", 110, 55);
  input.add_options()  //
      ("scheme", po::value<std::string>(),
       "position encodings, several separated by ';', for example "
       "\"vanilla;id-align;mrope:sections=16/24/24\"")                                                 //
      ("list", po::bool_switch(), "list the schemes with parameters, defaults and sources, and stop")  //
      ("layout", po::value<std::string>(),
       "what the tokens are, for example text:5,anyres:24x24+48x48,text:7")  //
      ("layout-file", po::value<std::string>(),
       "JSON file: a list of segments, or {\"layouts\":[{\"name\":...,\"segments\":[...]},...]}")  //
      ("anyres", po::value<std::string>(),
       "in place of a layout: an image's WIDTHxHEIGHT in pixels, or grids like 24x24+48x48, between 35 and "
       "20 "
       "tokens of text")  //
      ("preset", po::value<std::string>()->default_value("llava-next-clip"),
       "how --anyres WIDTHxHEIGHT is cut: llava-next-clip or llava-next-siglip");
  po::options_description measures("Measurements", 110, 55);
  measures.add_options()                                                         //
      ("criteria", po::bool_switch(), "the three criteria of arXiv 2510.23095")  //
      ("misalignment", po::bool_switch(),
       "high-resolution tokens on wrong thumbnail ids, and distances thumbnail - high-res - text")    //
      ("context", po::value<int64_t>(), "trained context, tokens: how many positions lie beyond it")  //
      ("mask", po::bool_switch(), "with --json, which keys every query may see, as strings of 0 and 1");
  po::options_description rotation("Rotation (criteria and --output)", 110, 55);
  rotation.add_options()                                                                                    //
      ("head-dim", po::value<int64_t>(), "channels of a head; 128, or what the scheme's sections ask for")  //
      ("kv-heads", po::value<int64_t>(), "key/value heads; 1, or what the scheme's sections ask for")       //
      ("rope-theta", po::value<double>(), "base; 1e4")                                                      //
      ("rope-scaling", po::value<std::string>(), "JSON, for example {\"rope_type\":\"yarn\",\"factor\":4}");
  po::options_description output("Output", 110, 55);
  output.add_options()                                                                             //
      ("plot", po::value<std::string>(), "picture: the layout coloured by id (.png, .svg, .pdf)")  //
      ("markdown", po::bool_switch(), "tables as Markdown")                                        //
      ("output", po::value<std::string>(), "result file, for example positions.h5");
  return {input, measures, rotation, output};
}

PositionRequest read_position_request(const Arguments& arguments) {
  PositionRequest request;
  for (const std::string& text : split_scheme_list(required_text(arguments, "scheme"))) {
    request.schemes.emplace_back(text);
  }
  request.layouts = read_layouts(arguments);
  request.rope = rope_override(arguments, {});
  request.head_dim = positive_integer(arguments, "head-dim");
  if (request.head_dim.value_or(2) % 2 != 0) {
    throw UsageError("--head-dim: expected an even number, found {}", *request.head_dim);
  }
  request.kv_heads = positive_integer(arguments, "kv-heads");
  request.context = positive_integer(arguments, "context").value_or(0);
  request.criteria = arguments.flag("criteria");
  request.misalignment = arguments.flag("misalignment");
  request.mask = arguments.flag("mask");
  return request;
}

}  // namespace ropescope::app
