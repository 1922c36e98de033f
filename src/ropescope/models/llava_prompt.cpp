// LLaVA-NeXT's prompts are prompts of pictures like those of other families.
#include "ropescope/models/llava.h"
#include "ropescope/models/media_prompt.h"

namespace ropescope {

namespace {

MediaPlan plan_of(const AnyresGeometry& geometry) {
  // (the side of a tile places cells on pixels, which nobody asks here)
  return anyres_plan(geometry, geometry.feat_H1W1, geometry.best_wh[0] / geometry.tiles_cols_rows[0]);
}

}  // namespace

Segment image_segment(const AnyresGeometry& geometry) { return media_segment(plan_of(geometry)); }

ImagePrompt expand_images(const at::Tensor& input_ids, const at::Tensor& attention_mask,
                          const std::vector<AnyresGeometry>& images, const LlavaConfig& config) {
  std::vector<MediaPlan> plans;
  for (const AnyresGeometry& geometry : images) plans.push_back(plan_of(geometry));
  MediaMarks marks;
  marks.image = marks.video = config.image_token_id.value_or(kImagePlaceholder);
  MediaPrompt prompt = place_media(input_ids, attention_mask, plans, marks, config.decoder.vocab_size);
  return {prompt.input_ids, prompt.attention_mask, std::move(prompt.layouts), std::move(prompt.item_of)};
}

}  // namespace ropescope
