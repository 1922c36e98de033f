// Inputs of a LLaVA-NeXT folder.
#include <utility>

#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/probe/picture_cells.h"
#include "ropescope/text/chat_template.h"
#include "ropescope/vision/preprocess.h"

#include "attention/attention_pictures.h"
#include "inputs/loaded_model.h"
#include "trace/trace_tokens.h"

namespace ropescope::app::attention {

SeenImage seen(LlavaImage image, std::string name, const at::Tensor& rgb_HW3) {
  SeenImage one{std::move(image), {}};
  one.picture.name = std::move(name);
  one.picture.rgb_HW3 = rgb_HW3;
  one.picture.width = one.image.geometry.size_wh[0];
  one.picture.height = one.image.geometry.size_wh[1];
  set_cell_maps(one.picture, one.image.geometry);
  return one;
}

namespace {

/// The images of the flags, one at a time.
class ImageSource {
 public:
  ImageSource(const ImageFlags& flags, const std::string& model) {
    if (flags.pixels || flags.image.empty()) {
      pixels_ = flags.read(model).images;
      return;
    }
    names_ = flags.names();
    decode_ = flags.decode.options();
    settings_ = read_preprocess_settings(model, flags.pinpoint_rule());
    if (!settings_.anyres)
      throw InputError("{}: expected a LLaVA-NeXT model, whose images are cut into tiles", model);
  }

  size_t count() const { return names_.empty() ? pixels_.size() : names_.size(); }
  SeenImage at(size_t i) const {
    if (names_.empty()) return seen(pixels_[i], "image " + std::to_string(i), {});
    const at::Tensor rgb = read_rgb(names_[i], decode_);
    PreprocessedImage prepared = preprocess_image(rgb, settings_);
    return seen({prepared.pixel_values, *prepared.geometry},
                std::filesystem::path(names_[i]).filename().string(), rgb);
  }

 private:
  std::vector<std::string> names_;
  std::vector<LlavaImage> pixels_;
  PreprocessSettings settings_;
  DecodeOptions decode_;
};

/// Tokens that expand_images added at the end of a row.
int64_t padding_of(const ImagePrompt& prompt, int64_t row) {
  const int64_t tokens = prompt.input_ids.size(1);
  int64_t padding = 0;
  while (padding < tokens &&
         prompt.image_of[static_cast<size_t>((row + 1) * tokens - 1 - padding)] == ImagePrompt::kPadding) {
    ++padding;
  }
  return padding;
}

/// One row of a prompt with its images, without the padding.
AttentionInput row_input(const ImagePrompt& prompt, const at::Tensor& embeds_BTC, int64_t row,
                         const std::vector<AttendedPicture>& pictures) {
  const int64_t whole = prompt.input_ids.size(1), padding = padding_of(prompt, row), tokens = whole - padding;
  AttentionInput input;
  input.input_ids = prompt.input_ids.narrow(0, row, 1).narrow(1, 0, tokens);
  input.inputs_embeds = embeds_BTC.narrow(0, row, 1).narrow(1, 0, tokens);
  if (prompt.attention_mask.defined()) {
    input.attention_mask = prompt.attention_mask.narrow(0, row, 1).narrow(1, 0, tokens);
  }
  input.layout = prompt.layouts[static_cast<size_t>(row)];
  if (padding > 0) input.layout.segments.back().text -= padding;
  int64_t last = ImagePrompt::kText;
  for (int64_t i = 0; i < tokens; ++i) {
    const int64_t image = prompt.image_of[static_cast<size_t>(row * whole + i)];
    if (image >= 0 && image != last) {
      input.pictures.push_back(pictures[static_cast<size_t>(image)]);
      input.name += (input.name.empty() ? "" : "+") + input.pictures.back().name;
    }
    if (image >= 0) last = image;
  }
  if (input.name.empty()) input.name = "row " + std::to_string(row);
  take_last_text_as_question(input);
  return input;
}

}  // namespace

AttentionInput prompt_input(const Llava& llava, const at::Tensor& ids, const std::vector<SeenImage>& images) {
  std::vector<LlavaImage> tiles;
  std::vector<AnyresGeometry> geometries;
  std::vector<AttendedPicture> pictures;
  for (const SeenImage& one : images) {
    tiles.push_back(one.image);
    geometries.push_back(one.image.geometry);
    pictures.push_back(one.picture);
  }
  const ImagePrompt prompt = expand_images(ids, {}, geometries, llava.config);
  return row_input(prompt, merge_embeddings(llava, prompt, tiles), 0, pictures);
}

namespace {

/// All rows of a tokens file at once: the images are divided among them in order.
AttentionInputs rows_with_images(const std::string& path, const Llava& llava, const ImageSource& source) {
  const TraceTokens tokens = parse_tokens_with_images(read_json_file(path), path);
  if (tokens.position_ids.defined()) {
    throw UsageError("{}: expected no position_ids, since --schemes says where tokens sit", path);
  }
  std::vector<LlavaImage> tiles;
  std::vector<AnyresGeometry> geometries;
  std::vector<AttendedPicture> pictures;
  for (size_t i = 0; i < source.count(); ++i) {
    SeenImage one = source.at(i);
    geometries.push_back(one.image.geometry);
    tiles.push_back(std::move(one.image));
    pictures.push_back(std::move(one.picture));
  }
  const ImagePrompt prompt = expand_images(tokens.input_ids, tokens.attention_mask, geometries, llava.config);
  const at::Tensor embeds = merge_embeddings(llava, prompt, tiles);
  return {prompt.input_ids.size(0),
          [prompt, embeds, pictures](int64_t row) { return row_input(prompt, embeds, row, pictures); }};
}

}  // namespace

AttentionSource read_llava_source(const InputFlags& flags, const CommonSettings& settings, bool generates) {
  const std::string& model = *flags.model;
  if (model_kind(model) != ModelKind::kLlava) {
    refuse_images(flags.images.image.empty() ? "pixels" : "image", model,
                  ", or --decoder in place of --model");
  }
  const std::pair<bool, const char*> made_by_images[] = {
      {flags.layout.layout.has_value(), "layout"},
      {flags.layout.layout_file.has_value(), "layout-file"},
      {flags.preset.has_value(), "preset"}};
  for (const auto& [given, flag] : made_by_images) {
    if (given) throw UsageError("--{}: the images make the layout", flag);
  }
  const LlavaConfig config = read_llava_config(model);
  const auto loaded =
      std::make_shared<LoadedModel>(model, config.decoder, config, load_options(settings, generates));
  AttentionSource source;
  source.model = model;
  source.decoder = std::shared_ptr<const Decoder>(loaded, &loaded->decoder());
  source.add_files = [loaded](Provenance& provenance) { loaded->add_inputs(provenance); };
  const auto images = std::make_shared<const ImageSource>(flags.images, model);
  if (flags.tokens) {
    source.inputs = rows_with_images(*flags.tokens, loaded->llava(), *images);
    return source;
  }
  const QuestionPrompt prompt =
      question_prompt(flags, config.decoder, *load_tokenizer(model), images->count(), config.image_token_id);
  const at::Tensor ids = at::tensor(prompt.ids, at::kLong).unsqueeze(0);
  const size_t each = prompt.images;
  source.inputs = {static_cast<int64_t>(images->count() / each), [loaded, images, ids, each](int64_t i) {
                     std::vector<SeenImage> own;
                     for (size_t j = 0; j < each; ++j)
                       own.push_back(images->at(static_cast<size_t>(i) * each + j));
                     return prompt_input(loaded->llava(), ids, own);
                   }};
  return source;
}

}  // namespace ropescope::app::attention
