// Inputs of a vision-language model.
#include <utility>

#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/probe/picture_cells.h"
#include "ropescope/text/chat_template.h"

#include "attention/attention_pictures.h"
#include "inputs/loaded_model.h"
#include "inputs/question.h"
#include "trace/trace_tokens.h"

namespace ropescope::app::attention {

namespace {

/// A visual block of an item as a person sees it: the picture, or the first frame of a group of a clip's.
AttendedPicture attended(const NamedMedia& one, int64_t part, const std::string& fallback) {
  const MediaPlan& plan = one.item.plan;
  AttendedPicture picture;
  picture.name = one.name.empty() ? fallback : one.name;
  const bool apart = plan.kind == MediaKind::kVideo && plan.runs.size() > 1;
  if (apart) picture.name += fmt::format(" frame {}", part);
  if (!one.rgb_HW3.empty()) {
    const size_t frames = one.rgb_HW3.size(), groups = apart ? plan.runs.size() : 1;
    picture.rgb_HW3 = one.rgb_HW3[static_cast<size_t>(part) * frames / groups];
  }
  set_cell_maps(picture, plan);
  return picture;
}

/// Tokens that place_media added at the end of a row.
int64_t padding_of(const MediaPrompt& prompt, int64_t row) {
  const int64_t tokens = prompt.input_ids.size(1);
  int64_t padding = 0;
  while (padding < tokens &&
         prompt.item_of[static_cast<size_t>((row + 1) * tokens - 1 - padding)] == MediaPrompt::kPadding) {
    ++padding;
  }
  return padding;
}

/// What DeepStack adds to one row's tokens.
std::vector<AddedFeatures> added_of_row(const MediaEmbeddings& media, int64_t row, int64_t whole) {
  std::vector<AddedFeatures> own;
  for (const AddedFeatures& added : media.added) {
    const at::Tensor index = added.token_index;
    const at::Tensor mine =
        index.ge(row * whole).logical_and(index.lt((row + 1) * whole)).nonzero().squeeze(1);
    if (mine.size(0) == 0) continue;
    own.push_back(
        {added.layer, index.index_select(0, mine).sub(row * whole), added.features.index_select(0, mine)});
  }
  return own;
}

/// One row of a prompt with its pictures, without the padding.
AttentionInput row_input(const MediaPrompt& prompt, const MediaEmbeddings& media, int64_t row,
                         const std::vector<NamedMedia>& pictures) {
  const int64_t whole = prompt.input_ids.size(1), padding = padding_of(prompt, row), tokens = whole - padding;
  AttentionInput input;
  input.input_ids = prompt.input_ids.narrow(0, row, 1).narrow(1, 0, tokens);
  input.inputs_embeds = media.inputs_embeds.narrow(0, row, 1).narrow(1, 0, tokens);
  input.added = added_of_row(media, row, whole);
  if (media.groups.defined()) input.groups = media.groups.narrow(0, row, 1).narrow(1, 0, tokens);
  if (prompt.attention_mask.defined()) {
    input.attention_mask = prompt.attention_mask.narrow(0, row, 1).narrow(1, 0, tokens);
  }
  input.layout = prompt.layouts[static_cast<size_t>(row)];
  if (padding > 0) input.layout.segments.back().text -= padding;
  int64_t last = MediaPrompt::kText;
  for (const MediaPrompt::Block& block : prompt.blocks[static_cast<size_t>(row)]) {
    const NamedMedia& one = pictures[static_cast<size_t>(block.item)];
    input.pictures.push_back(attended(one, block.part, "image " + std::to_string(block.item)));
    if (block.item != last) {
      const std::string name = one.name.empty() ? "image " + std::to_string(block.item) : one.name;
      input.name += (input.name.empty() ? "" : "+") + name;
    }
    last = block.item;
  }
  if (input.name.empty()) input.name = "row " + std::to_string(row);
  if (const Json clips = clips_of(pictures); !clips.empty()) input.clips = clips.dump();
  take_last_text_as_question(input);
  return input;
}

/// The pictures of the flags, one at a time.
class ImageSource {
 public:
  ImageSource(const ImageFlags& flags, const std::string& model, const VlmConfig& config)
      : flags_(flags), reader_(model, flags.pinpoint_rule()) {
    if (!flags.pixels) {
      names_ = flags.names();
      decode_ = flags.decode.options();
      videos_ = flags.video_names().size();
      return;
    }
    if (reader_.expands_text()) {
      throw UsageError(
          "--pixels: expected --image: this family's prompt and its pictures' places depend on their sizes");
    }
    pixels_ = flags.read_pixels(model, reader_, config, {});
  }

  const PictureReader& reader() const { return reader_; }
  size_t count() const { return flags_.pixels ? pixels_.size() : names_.size(); }
  size_t videos() const { return videos_; }

  /// Pictures first, first + 1, ...: those of one prompt.
  std::vector<NamedMedia> some(size_t first, size_t count) const {
    std::vector<NamedMedia> media;
    if (flags_.pixels) {
      for (size_t i = first; i < first + count; ++i) {
        media.push_back(pixels_[i]);
        media.back().name = "image " + std::to_string(i);
      }
      return media;
    }
    std::vector<at::Tensor> rgb;
    for (size_t i = first; i < first + count; ++i) rgb.push_back(read_rgb(names_[i], decode_));
    std::vector<MediaItem> items = reader_.images(rgb);
    for (size_t i = 0; i < count; ++i) {
      media.push_back(
          {std::move(items[i]), std::filesystem::path(names_[first + i]).filename().string(), {rgb[i]}});
    }
    return media;
  }

  /// All pictures and clips together.
  std::vector<NamedMedia> all() const { return flags_.pixels ? some(0, count()) : flags_.read(reader_); }

 private:
  ImageFlags flags_;
  PictureReader reader_;
  std::vector<std::string> names_;
  std::vector<NamedMedia> pixels_;
  DecodeOptions decode_;
  size_t videos_ = 0;
};

}  // namespace

AttentionInput prompt_input(const Vlm& vlm, const at::Tensor& ids, const std::vector<NamedMedia>& media) {
  const MediaPrompt prompt =
      place_media(ids, {}, plans_of(media), media_marks(vlm.config), vlm.decoder.config.vocab_size);
  return row_input(prompt, embed(vlm, prompt, see(vlm, items_of(media))), 0, media);
}

namespace {

/// All rows of a tokens file at once: the images are divided among them in order.
AttentionInputs rows_with_images(const std::string& path, const Vlm& vlm, const ImageSource& source) {
  const TraceTokens tokens = parse_tokens_with_images(read_json_file(path), path);
  if (tokens.position_ids.defined()) {
    throw UsageError("{}: expected no position_ids, since --schemes says where tokens sit", path);
  }
  const std::vector<NamedMedia> media = source.all();
  const MediaPrompt prompt = place_media(tokens.input_ids, tokens.attention_mask, plans_of(media),
                                         media_marks(vlm.config), vlm.decoder.config.vocab_size);
  const MediaEmbeddings embeds = embed(vlm, prompt, see(vlm, items_of(media)));
  return {prompt.input_ids.size(0),
          [prompt, embeds, media](int64_t row) { return row_input(prompt, embeds, row, media); }};
}

}  // namespace

AttentionSource read_media_source(const InputFlags& flags, const CommonSettings& settings, bool generates) {
  const std::string& model = *flags.model;
  if (model_kind(model) != ModelKind::kVlm) {
    refuse_images(flags.images.first_given(), model, ", or --decoder in place of --model");
  }
  const std::pair<bool, const char*> made_by_images[] = {
      {flags.layout.layout.has_value(), "layout"},
      {flags.layout.layout_file.has_value(), "layout-file"},
      {flags.preset.has_value(), "preset"}};
  for (const auto& [given, flag] : made_by_images) {
    if (given) throw UsageError("--{}: the images make the layout", flag);
  }
  const VlmConfig config = read_vlm_config(model);
  const DecoderConfig decoder = read_decoder_config(model);
  const auto images = std::make_shared<const ImageSource>(flags.images, model, config);
  const auto loaded =
      std::make_shared<LoadedModel>(model, decoder, config, load_options(settings, generates));
  AttentionSource source;
  source.model = model;
  source.decoder = std::shared_ptr<const Decoder>(loaded, &loaded->decoder());
  source.add_files = [loaded](Provenance& provenance) { loaded->add_inputs(provenance); };
  if (flags.tokens) {
    source.inputs = rows_with_images(*flags.tokens, loaded->vlm(), *images);
    return source;
  }
  const std::shared_ptr<const Tokenizer> tokenizer = load_tokenizer(model);
  const PromptTemplate chat = flags.chat.chosen(model, ModelKind::kVlm, decoder, *tokenizer);
  const auto ask = [chat, tokenizer, images, loaded, system = flags.chat.system, token = config.tokens.image](
                       const std::string& question, const std::vector<NamedMedia>& media) {
    const AskedPrompt asked =
        images->reader().ask(chat, *tokenizer, question, system, token, plans_of(media));
    return prompt_input(loaded->vlm(), at::tensor(asked.ids, at::kLong).unsqueeze(0), media);
  };
  // With a clip all of them are one input.
  const std::string question =
      with_media_in_front(flags.question(), images->videos() > 0 ? images->count() : 1, images->videos());
  if (images->videos() > 0) {
    source.inputs = {1, [ask, question, images](int64_t) { return ask(question, images->all()); }};
    return source;
  }
  const auto each = static_cast<size_t>(count_images(question));
  if (images->count() == 0 || images->count() % each != 0) {
    throw UsageError("--prompt: names {} images, which do not divide the {} of --image or --pixels", each,
                     images->count());
  }
  source.inputs = {static_cast<int64_t>(images->count() / each), [ask, question, images, each](int64_t i) {
                     return ask(question, images->some(static_cast<size_t>(i) * each, each));
                   }};
  return source;
}

}  // namespace ropescope::app::attention
