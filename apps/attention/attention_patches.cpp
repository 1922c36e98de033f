// Inputs of --decoder.
#include <algorithm>

#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/probe/patch_features.h"
#include "ropescope/probe/picture_cells.h"
#include "ropescope/text/chat_template.h"
#include "ropescope/vision/preprocess.h"

#include "attention/attention_pictures.h"

namespace ropescope::app::attention {

namespace {

AttendedPicture read_picture(const std::string& path, const DecodeOptions& decode) {
  AttendedPicture picture;
  picture.name = std::filesystem::path(path).filename().string();
  picture.rgb_HW3 = read_rgb(path, decode);
  picture.height = picture.rgb_HW3.size(0);
  picture.width = picture.rgb_HW3.size(1);
  return picture;
}

/// Text runs of a layout filled with the prompt, again and again; the last one ends where the prompt ends.
std::vector<int64_t> fill_layout(const Layout& layout, const Tokenizer& tokenizer,
                                 const std::string& prompt) {
  const std::vector<int64_t> words = tokenizer.encode(prompt, {/*add_special=*/false, false});
  if (words.empty()) throw UsageError("--prompt: expected at least one token, found none");
  size_t last = layout.segments.size();
  for (size_t i = 0; i < layout.segments.size(); ++i) {
    if (layout.segments[i].kind == Segment::Kind::kText) last = i;
  }
  std::vector<int64_t> ids;
  for (size_t i = 0; i < layout.segments.size(); ++i) {
    const Segment& segment = layout.segments[i];
    if (segment.kind != Segment::Kind::kText) {
      ids.insert(ids.end(), static_cast<size_t>(segment.tokens()), kImageId);
      continue;
    }
    const auto count = static_cast<size_t>(segment.text), cycle = words.size();
    const size_t begin = i == last ? (cycle - count % cycle) % cycle : 0;
    for (size_t j = 0; j < count; ++j) {
      const bool starts = ids.empty() && tokenizer.bos_id();
      ids.push_back(starts ? *tokenizer.bos_id() : words[(begin + j) % cycle]);
    }
  }
  return ids;
}

/// Ids with one kImageId a picture to an input in which every picture has its block.
AttentionInput with_blocks(const std::vector<int64_t>& ids, std::vector<AttendedPicture> pictures,
                           const AnyresOptions& anyres) {
  AttentionInput input;
  std::vector<int64_t> expanded;
  size_t next = 0;
  auto& segments = input.layout.segments;
  for (const int64_t id : ids) {
    if (id != kImageId) {
      if (segments.empty() || segments.back().kind != Segment::Kind::kText) segments.emplace_back();
      ++segments.back().text;
      expanded.push_back(id);
      continue;
    }
    AttendedPicture& picture = pictures.at(next++);
    const AnyresGeometry geometry = anyres_geometry(picture.width, picture.height, anyres);
    const MediaPlan plan = anyres_plan(geometry, geometry.feat_H1W1, anyres.tile_size);
    set_cell_maps(picture, plan);
    segments.push_back(media_segment(plan));
    expanded.insert(expanded.end(), static_cast<size_t>(segments.back().tokens()), kImageId);
    input.name += (next > 1 ? "+" : "") + picture.name;
  }
  input.pictures = std::move(pictures);
  input.input_ids = at::tensor(expanded, at::kLong).unsqueeze(0);
  return input;
}

AttentionInput finished(AttentionInput input, const Decoder& decoder, uint64_t seed) {
  take_last_text_as_question(input);
  input.inputs_embeds =
      patch_embeddings(input, whole_table(decoder.access, decoder.weights.embed_tokens), seed);
  input.untrained_features = true;
  return input;
}

AttentionInputs laid_out(const InputFlags& flags, const Layout& layout,
                         const std::vector<std::string>& images,
                         const std::shared_ptr<const Decoder>& decoder, uint64_t seed) {
  const DecodeOptions decode = flags.images.decode.options();
  std::vector<int64_t> ids;
  AttentionInputs rows;
  if (flags.tokens) {
    rows = token_inputs(flags, *decoder);
  } else {
    ids = fill_layout(layout, *load_tokenizer(*flags.decoder), flags.question());
  }
  if (rows.count > 1 && images.size() > 1) {
    throw UsageError("--tokens: expected one row where there are several images, found {}", rows.count);
  }
  const auto count = std::max({int64_t{1}, static_cast<int64_t>(images.size()), rows.count});
  return {count, [=](int64_t i) {
            AttentionInput input;
            if (rows.count > 0) {
              input = rows.make(rows.count > 1 ? i : 0);
            } else {
              input.name = layout_text(layout);
              input.input_ids = at::tensor(ids, at::kLong).unsqueeze(0);
              input.layout = layout;
            }
            if (!images.empty()) {
              input.pictures = {read_picture(images[images.size() > 1 ? static_cast<size_t>(i) : 0], decode)};
              input.name = input.pictures.front().name;
            }
            return finished(std::move(input), *decoder, seed);
          }};
}

}  // namespace

AttentionInputs patch_inputs(const InputFlags& flags, uint64_t seed,
                             const std::shared_ptr<const Decoder>& decoder) {
  std::vector<std::string> images;
  if (!flags.images.image.empty()) images = flags.images.names();
  if (const std::optional<Layout> layout = flags.layout.read()) {
    if (flags.preset) throw UsageError("--preset and --layout: expected at most one of the two");
    return laid_out(flags, *layout, images, decoder, seed);
  }
  if (flags.tokens) throw UsageError("--tokens: expected --layout, which says which of them are visual");
  if (images.empty()) throw UsageError("--decoder: expected --image or --layout");
  const PreprocessSettings preset = preset_settings(flags.preset_name());
  if (!preset.anyres) {
    throw UsageError("--preset {}: expected llava-next-clip or llava-next-siglip, which cut into tiles",
                     preset.name);
  }
  const QuestionPrompt prompt =
      question_prompt(flags, decoder->config, *load_tokenizer(*flags.decoder), images.size());
  const AnyresOptions anyres = *preset.anyres;
  const DecodeOptions decode = flags.images.decode.options();
  const size_t each = prompt.images;
  return {static_cast<int64_t>(images.size() / each), [=](int64_t i) {
            std::vector<AttendedPicture> pictures;
            for (size_t j = 0; j < each; ++j) {
              pictures.push_back(read_picture(images[static_cast<size_t>(i) * each + j], decode));
            }
            return finished(with_blocks(prompt.ids, std::move(pictures), anyres), *decoder, seed);
          }};
}

}  // namespace ropescope::app::attention
