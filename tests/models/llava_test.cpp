// LLaVA-NeXT against the golden activations; tolerances are those of tests/golden/vision/README.md.
#include "ropescope/models/llava.h"

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/vision/preprocess.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::HasSubstr;

constexpr double kLlavaEmbeddings = 2e-5, kLlavaLogits = 5e-5, kLlavaAttention = 1e-5;

struct Form {
  const char* name;
  const char* golden;  // folder of the expected numbers
  const char* folder;  // of the checkpoint
};

Llava load(const std::string& folder) {
  const std::string path = golden_path("vision/" + folder);
  return load_llava(*open_checkpoint(path), read_llava_config(path), path, {});
}

AnyresOptions anyres_of(const std::string& folder, std::optional<PinpointRule> rule = std::nullopt) {
  return *read_preprocess_settings(golden_path("vision/" + folder), rule).anyres;
}

class LlavaGolden : public ::testing::TestWithParam<Form> {
 protected:
  at::Tensor golden(const std::string& name) const { return golden_.at(name); }
  bool original() const { return llava_.config.original; }
  /// The original form has no id for image tokens: it takes the placeholder.
  at::Tensor ids(const std::string& name) const {
    return golden(name + (original() ? ".input_ids_original" : ".input_ids")).unsqueeze(0);
  }
  std::vector<LlavaImage> images(const std::string& name, PinpointRule rule = PinpointRule::kHf) const {
    std::vector<LlavaImage> result;
    if (golden_.count(name + ".pixel_values") == 0) return result;
    const at::Tensor pixels = golden(name + ".pixel_values"), sizes = golden(name + ".image_sizes_hw");
    for (int64_t i = 0; i < pixels.size(0); ++i) {
      result.push_back({pixels[i], anyres_geometry(sizes[i][1].item<int64_t>(), sizes[i][0].item<int64_t>(),
                                                   anyres_of(GetParam().folder, rule))});
    }
    return result;
  }
  static std::vector<AnyresGeometry> geometries(const std::vector<LlavaImage>& images) {
    std::vector<AnyresGeometry> result;
    for (const LlavaImage& image : images) result.push_back(image.geometry);
    return result;
  }

  Llava llava_ = load(GetParam().folder);
  std::map<std::string, at::Tensor> golden_ =
      golden_tensors(std::string("vision/") + GetParam().golden + "/expected.safetensors");
};

INSTANTIATE_TEST_SUITE_P(
    Tiny, LlavaGolden,
    ::testing::Values(
        Form{"ClipLlama", "llava-next-tiny-clip-llama", "llava-next-tiny-clip-llama"},
        Form{"ClipLlamaOriginal", "llava-next-tiny-clip-llama", "llava-next-tiny-clip-llama/original"},
        Form{"SiglipQwen2", "llava-next-tiny-siglip-qwen2", "llava-next-tiny-siglip-qwen2"},
        Form{"SiglipQwen2Resaved", "llava-next-tiny-siglip-qwen2", "llava-next-tiny-siglip-qwen2/resaved"}),
    [](const auto& instance) { return instance.param.name; });

struct Pass {
  ForwardOutput output;
  std::vector<at::Tensor> attention;
};

Pass run(const Llava& llava, const ImagePrompt& prompt, const at::Tensor& embeds, const std::string& scheme) {
  const SequenceEncoding encoding(Scheme(scheme), prompt.layouts.front(),
                                  encoded_model(llava.decoder.config));
  const int64_t tokens = prompt.input_ids.size(1);
  const PassEncoding pass_encoding = encoding.pass(0, tokens);
  Pass pass;
  Taps taps;
  std::vector<int64_t> queries(static_cast<size_t>(tokens));
  for (int64_t q = 0; q < tokens; ++q) queries[static_cast<size_t>(q)] = q;
  taps.attention = AttentionRows{
      queries, [&](int64_t, const at::Tensor& rows) { pass.attention.push_back(rows[0].clone()); }};
  ForwardInput input;
  input.inputs_embeds = embeds;
  input.encoding = &pass_encoding;
  input.attention_mask = prompt.attention_mask;
  pass.output = forward(llava.decoder, input, {}, taps);
  return pass;
}

/// The original form has fewer rows than the other, whose last ones are of the image token and padding.
at::Tensor shared_rows(const at::Tensor& expected, const at::Tensor& actual) {
  return expected.narrow(-1, 0, std::min(actual.size(-1), expected.size(-1)));
}

TEST_P(LlavaGolden, EmbeddingsLogitsAndAttention) {
  const at::NoGradGuard no_grad;
  for (const std::string name : {"one_image", "two_images", "text_only", "tie_square"}) {
    SCOPED_TRACE(name);
    const auto pictures = images(name);
    const ImagePrompt prompt = expand_images(ids(name), {}, geometries(pictures), llava_.config);
    EXPECT_FALSE(prompt.attention_mask.defined());
    EXPECT_EQ(prompt.layouts.front().tokens(), prompt.input_ids.size(1));
    const at::Tensor embeds = merge_embeddings(llava_, prompt, pictures);
    EXPECT_TRUE(all_close(embeds[0], golden(name + ".inputs_embeds"), kLlavaEmbeddings));
    const Pass pass = run(llava_, prompt, embeds, "vanilla");
    const at::Tensor logits = pass.output.logits[0];
    EXPECT_TRUE(all_close(logits, shared_rows(golden(name + ".logits"), logits), kLlavaLogits));
    for (size_t l = 0; l < pass.attention.size(); ++l) {
      const std::string key = name + ".attentions." + std::to_string(l);
      if (golden_.count(key) == 0) continue;
      EXPECT_TRUE(all_close(pass.attention[l], golden(key), kLlavaAttention)) << key;
    }
  }
}

TEST_P(LlavaGolden, IdAlign) {
  const at::NoGradGuard no_grad;
  for (const std::string name : {"one_image", "two_images", "tie_square"}) {
    SCOPED_TRACE(name);
    const auto pictures = images(name);
    const ImagePrompt prompt = expand_images(ids(name), {}, geometries(pictures), llava_.config);
    const SequenceEncoding encoding(Scheme("id-align"), prompt.layouts.front(),
                                    encoded_model(llava_.decoder.config));
    EXPECT_TRUE(at::equal(encoding.coordinates(prompt.input_ids.size(1))[0].to(at::kLong),
                          golden(name + ".idalign.position_ids")));
    const Pass pass = run(llava_, prompt, merge_embeddings(llava_, prompt, pictures), "id-align");
    const at::Tensor logits = pass.output.logits[0];
    EXPECT_TRUE(all_close(logits, shared_rows(golden(name + ".idalign.logits"), logits), kLlavaLogits));
    if (golden_.count(name + ".idalign.attentions.1") > 0) {
      EXPECT_TRUE(all_close(pass.attention[1], golden(name + ".idalign.attentions.1"), kLlavaAttention));
    }
  }
}

TEST_P(LlavaGolden, TheOriginalRuleForPinpoints) {
  const at::NoGradGuard no_grad;
  const auto pictures = images("tie_square", PinpointRule::kOriginal);
  const ImagePrompt prompt = expand_images(golden("tie_square.input_ids_original").unsqueeze(0), {},
                                           geometries(pictures), llava_.config);
  const at::Tensor embeds = merge_embeddings(llava_, prompt, pictures);
  EXPECT_TRUE(all_close(embeds[0], golden("tie_square.original_rule.inputs_embeds"), kLlavaEmbeddings));
  const at::Tensor logits = run(llava_, prompt, embeds, "vanilla").output.logits[0];
  EXPECT_TRUE(
      all_close(logits, shared_rows(golden("tie_square.original_rule.logits"), logits), kLlavaLogits));
}

TEST_P(LlavaGolden, RowsOfDifferentLengthsArePaddedOnTheRight) {
  const at::NoGradGuard no_grad;
  const auto pictures = images("one_image");
  const at::Tensor padded = golden("batch.input_ids_original");
  const int64_t one = golden("one_image.input_ids_original").size(0);
  at::Tensor mask = padded.ge(padded.min()).to(at::kLong);
  mask[0].narrow(0, one, mask.size(1) - one).fill_(0);
  const ImagePrompt prompt = expand_images(padded, mask, geometries(pictures), llava_.config);
  EXPECT_TRUE(at::equal(prompt.attention_mask, golden("batch.attention_mask")));
  const at::Tensor embeds = merge_embeddings(llava_, prompt, pictures);
  EXPECT_TRUE(all_close(embeds, golden("batch.inputs_embeds"), kLlavaEmbeddings));
  const RotaryTable rotary = plain_rotary_table(llava_.decoder.config, prompt.input_ids.size(1));
  ForwardInput input;
  input.inputs_embeds = embeds;
  input.attention_mask = prompt.attention_mask;
  input.rotary = &rotary;
  const at::Tensor row = forward(llava_.decoder, input).logits[1];
  const at::Tensor expected = golden("batch.logits_row1");
  EXPECT_TRUE(all_close(row.narrow(0, 0, expected.size(0)), shared_rows(expected, row), kLlavaLogits));
}

TEST_P(LlavaGolden, EveryWayToWriteAnImage) {
  const auto pictures = images("two_images");
  const auto sizes = geometries(pictures);
  const at::Tensor placeholders = golden("two_images.input_ids_original").unsqueeze(0);
  const ImagePrompt expected = expand_images(placeholders, {}, sizes, llava_.config);
  const auto same = [&](const at::Tensor& tokens) {
    const ImagePrompt prompt = expand_images(tokens, {}, sizes, llava_.config);
    EXPECT_TRUE(at::equal(prompt.input_ids, expected.input_ids));
    EXPECT_EQ(prompt.image_of, expected.image_of);
    EXPECT_EQ(layout_text(prompt.layouts[0]), layout_text(expected.layouts[0]));
  };
  same(expected.input_ids);
  if (llava_.config.image_token_id) {
    same(placeholders.masked_fill(placeholders.eq(kImagePlaceholder), *llava_.config.image_token_id));
    same(golden("two_images.input_ids").unsqueeze(0));
  }
  EXPECT_THROW(expand_images(placeholders, {}, {sizes[0]}, llava_.config), InputError);
  EXPECT_THROW(expand_images(placeholders, {}, {sizes[0], sizes[1], sizes[0]}, llava_.config), InputError);
  const at::Tensor longer = at::cat({placeholders, placeholders.new_full({1, 5}, kImagePlaceholder)}, 1);
  EXPECT_THROW(expand_images(longer, {}, sizes, llava_.config), InputError);
  EXPECT_THROW(expand_images(placeholders.new_full({1, 3}, 1000), {}, {}, llava_.config), InputError);
}

TEST_P(LlavaGolden, GradientsReachEveryPartOfTheTower) {
  const auto pictures = images("one_image");
  const ImagePrompt prompt = expand_images(ids("one_image"), {}, geometries(pictures), llava_.config);
  std::map<std::string, at::Tensor> watched = {
      {"model.image_newline", llava_.image_newline},
      {"model.multi_modal_projector.linear_1.weight", llava_.projector.linear_1.weight},
      {"model.multi_modal_projector.linear_2.bias", llava_.projector.linear_2.bias},
      {"model.vision_tower.embeddings.patch_embedding.weight", llava_.tower.weights.patch.weight}};
  for (auto& [name, tensor] : watched) tensor.requires_grad_(true);
  const RotaryTable rotary = plain_rotary_table(llava_.decoder.config, prompt.input_ids.size(1));
  ForwardInput input;
  input.inputs_embeds = merge_embeddings(llava_, prompt, pictures);
  input.rotary = &rotary;
  const at::Tensor labels = golden("one_image.labels").unsqueeze(0);
  const at::Tensor logits = forward(llava_.decoder, input).logits;
  // Labels of the other form may name the image token: never here.
  const at::Tensor loss = causal_lm_loss(logits, labels);
  if (!original()) {
    const Json expected = golden_json(std::string("vision/") + GetParam().golden + "/expected.json");
    EXPECT_NEAR(loss.item<double>(), expected.at("cases")[0].at("loss").get<double>(), 1e-5);
  }
  loss.backward();
  if (original()) return;  // another vocabulary, another loss
  for (const auto& [name, tensor] : watched) {
    const at::Tensor expected = golden("one_image.grad." + name);
    const double relative = tensor.grad().sub(expected).norm().div(expected.norm()).item<double>();
    EXPECT_LT(relative, 1e-4) << name;
  }
}

TEST_P(LlavaGolden, ExtremeShapesKeepNoRowsOrNoColumns) {
  const at::NoGradGuard no_grad;
  const AnyresOptions options = anyres_of(GetParam().folder);
  const int64_t tile = options.tile_size, grid = tile / options.patch_size;
  bool no_rows = false, no_columns = false;
  for (const auto& [width, height] :
       std::vector<std::array<int64_t, 2>>{{4000, 1}, {1, 4000}, {900, 2}, {2, 900}}) {
    LlavaImage image;
    image.geometry = anyres_geometry(width, height, options);
    const int64_t tiles = 1 + image.geometry.tiles_cols_rows[0] * image.geometry.tiles_cols_rows[1];
    image.pixel_values = at::randn({tiles, 3, tile, tile});
    const at::Tensor embeddings = image_embeddings(llava_, image);
    EXPECT_EQ(embeddings.size(0), image.geometry.tokens);
    const auto [rows, columns] = image.geometry.feat_H1W1;
    no_rows = no_rows || rows == 0;
    no_columns = no_columns || columns == 0;
    if (rows > 0 && columns == 0) {
      EXPECT_TRUE(at::equal(embeddings[grid * grid], llava_.image_newline));
    }
    const ImagePrompt prompt =
        expand_images(at::tensor(std::vector<int64_t>{5, kImagePlaceholder, 6}, at::kLong).unsqueeze(0), {},
                      {image.geometry}, llava_.config);
    const at::Tensor embeds = merge_embeddings(llava_, prompt, {image});
    for (const char* scheme : {"vanilla", "id-align"}) {
      EXPECT_TRUE(run(llava_, prompt, embeds, scheme).output.logits.isfinite().all().item<bool>());
    }
  }
  EXPECT_TRUE(no_rows || no_columns);
}

TEST(LlavaTower, BesideTheCheckpoint) {
  const at::NoGradGuard no_grad;
  namespace fs = std::filesystem;
  const std::string source = "vision/llava-next-tiny-clip-llama/original/";
  const TemporaryFolder folder;
  std::map<std::string, at::Tensor> model, tower;
  const std::string prefix = "model.vision_tower.vision_tower.";
  for (const auto& [name, tensor] : golden_tensors(source + "model.safetensors")) {
    const bool inside = name.rfind(prefix, 0) == 0;
    (inside ? tower : model)[inside ? name.substr(prefix.size()) : name] = tensor;
  }
  fs::create_directories(folder.path("llava"));
  write_safetensors(folder.path("llava/model.safetensors"), model);
  fs::copy_file(golden_path(source + "config.json"), folder.path("llava/config.json"));
  EXPECT_THROW(read_llava_config(folder.path("llava")), InputError);
  fs::create_directories(folder.path("vision_tower"));
  write_safetensors(folder.path("vision_tower/model.safetensors"), tower);
  fs::copy_file(golden_path(source + "vision_tower/config.json"), folder.path("vision_tower/config.json"));

  const Llava outside = load_llava(*open_checkpoint(folder.path("llava")),
                                   read_llava_config(folder.path("llava")), folder.path("llava"), {});
  ASSERT_EQ(outside.tower_files.size(), 1u);
  const Llava inside = load("llava-next-tiny-clip-llama/original");
  const at::Tensor pixels = at::randn({3, 3, 56, 56});
  EXPECT_TRUE(at::equal(encode_tiles(outside, pixels), encode_tiles(inside, pixels)));
  const auto settings = read_preprocess_settings(folder.path("llava"));
  EXPECT_EQ(settings.anyres->tile_size, 56);
}

}  // namespace
}  // namespace ropescope
