// Connectors by themselves, families without golden numbers, other spellings of names.
#include "ropescope/models/connector.h"

#include <cmath>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/models/vision_part.h"

#include "tests/support/golden.h"
#include "tests/support/refusal.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::HasSubstr;

TEST(PixelShuffle, BlocksRowByRowAndPatchesRowBeforeColumn) {
  // 4 x 4 patches named by their number, one channel.
  const at::Tensor x = at::arange(16, at::kFloat).view({1, 16, 1});
  const at::Tensor rows = pixel_shuffle(x, 4, 4, 2);
  EXPECT_TRUE(at::equal(
      rows[0], at::tensor({0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15}, at::kFloat).view({4, 4})));
  const at::Tensor columns = pixel_shuffle(x, 4, 4, 2, /*transposed=*/true);
  EXPECT_TRUE(at::equal(columns[0], at::stack({rows[0][0], rows[0][2], rows[0][1], rows[0][3]})));
  // Two channels of a patch stay together.
  const at::Tensor two = at::arange(8, at::kFloat).view({1, 4, 2});
  EXPECT_TRUE(at::equal(pixel_shuffle(two, 2, 2, 2)[0][0], at::arange(8, at::kFloat)));
  EXPECT_THROW(pixel_shuffle(x, 4, 4, 3), InputError);
  EXPECT_THROW(pixel_shuffle(x, 2, 4, 2), InputError);
}

AnyresGeometry mosaic(int64_t height, int64_t width, int64_t side) {
  AnyresGeometry geometry;
  geometry.feat_H1W1 = {height, width};
  geometry.thumbnail_HW = {side, side};
  return geometry;
}

TEST(AnyresMap, ShrinksAboveNineTiles) {
  using Size = std::array<int64_t, 2>;
  EXPECT_EQ(anyres_map_size(mosaic(9, 13, 3), 9), (Size{7, 10}));
  EXPECT_EQ(anyres_map_size(mosaic(9, 9, 3), 9), (Size{9, 9}));
  // 1.1 itself does not shrink: 11 x 11 of 10 x 10.
  EXPECT_EQ(anyres_map_size(mosaic(33, 33, 10), 9), (Size{33, 33}));
  EXPECT_EQ(anyres_map_size(mosaic(34, 34, 10), 9), (Size{30, 30}));
  EXPECT_EQ(anyres_map_size(mosaic(100, 100, 3), 0), (Size{100, 100}));
  // The sizes of the published model: 27 x 27 features a tile.
  EXPECT_EQ(anyres_map_size(mosaic(81, 144, 27), 9), (Size{60, 108}));
  EXPECT_EQ(anyres_map_size(mosaic(162, 60, 27), 9), (Size{133, 49}));
}

// One tile, whose map is made smaller: means of two by two features are what half-pixel centres give at half the size.
TEST(AnyresMap, IsResampledWithHalfPixelCentresAndEndsItsRows) {
  AnyresGeometry geometry = mosaic(4, 4, 4);
  geometry.tiles_cols_rows = {1, 1};
  geometry.feat_offset_rc = {{0, 0}};
  const at::Tensor tiles = at::arange(64, at::kFloat).view({2, 16, 2});
  const at::Tensor newline = at::tensor({-1.0, -2.0}, at::kFloat);
  const at::Tensor found = onevision_features(tiles, geometry, 2, 2, newline);
  ASSERT_EQ(found.size(0), 16 + 2 * 3);
  EXPECT_TRUE(at::equal(found.narrow(0, 0, 16), tiles[0]));
  const at::Tensor map = tiles[1].view({2, 2, 2, 2, 2}).mean(at::IntArrayRef{1, 3});
  EXPECT_TRUE(all_close(found.narrow(0, 16, 2), map[0], 1e-5));
  EXPECT_TRUE(at::equal(found[18], newline));
  EXPECT_TRUE(all_close(found.narrow(0, 19, 2), map[1], 1e-5));
  EXPECT_TRUE(at::equal(found[21], newline));
  EXPECT_THROW(onevision_features(tiles, geometry, 5, 4, newline), InputError);
  EXPECT_THROW(onevision_features(tiles.narrow(0, 0, 1), geometry, 4, 4, newline), InputError);
}

// OpenGVLab's files: fused qkv, other names of everything.
TEST(InternVl, TheOriginalFormIsTheSameModel) {
  const at::NoGradGuard no_grad;
  const std::string folder = "vlm/internvl/";
  const Json config = golden_json(folder + "config.json");
  const auto tensors = golden_tensors(folder + "model.safetensors");
  const auto expected = golden_tensors(folder + "expected.safetensors");
  std::map<std::string, at::Tensor> original;
  const std::vector<std::pair<std::string, std::string>> changes = {
      {"vision_tower.", "vision_model."},
      {"embeddings.patch_embeddings.projection", "embeddings.patch_embedding"},
      {"embeddings.position_embeddings", "embeddings.position_embedding"},
      {"embeddings.cls_token", "embeddings.class_embedding"},
      {"encoder.layer.", "encoder.layers."},
      {"layernorm_before", "norm1"},
      {"layernorm_after", "norm2"},
      {"attention.projection_layer", "attn.proj"},
      {"lambda_1", "ls1"},
      {"lambda_2", "ls2"},
      {"multi_modal_projector.layer_norm", "mlp1.0"},
      {"multi_modal_projector.linear_1", "mlp1.1"},
      {"multi_modal_projector.linear_2", "mlp1.3"},
  };
  for (const auto& [name, tensor] : tensors) {
    std::string renamed = name;
    for (const auto& [from, to] : changes) {
      if (const size_t at = renamed.find(from); at != std::string::npos) renamed.replace(at, from.size(), to);
    }
    const size_t query = renamed.find("attention.q_proj");
    if (query != std::string::npos) {
      const auto part = [&](const char* letter) {
        std::string other = name;
        other.replace(other.find("q_proj"), 1, letter);
        return tensors.at(other);
      };
      renamed.replace(query, std::string("attention.q_proj").size(), "attn.qkv");
      original[renamed] = at::cat({part("q"), part("k"), part("v")}, 0);
    } else if (renamed.find("attention.") == std::string::npos) {
      original[renamed] = tensor;
    }
  }
  const TemporaryFolder place;
  write_safetensors(place.path("model.safetensors"), original);
  Json vision = config["vision_config"];
  vision["qkv_bias"] = vision["attention_bias"];
  vision["qk_normalization"] = false;
  vision["model_type"] = "intern_vit_6b";
  vision["image_size"] = 448;
  vision["patch_size"] = 4;
  vision.erase("attention_bias");
  Json chat = {{"model_type", "internvl_chat"},
               {"vision_config", vision},
               {"llm_config", config["text_config"]},
               {"ps_version", "v2"},
               {"downsample_ratio", 0.5},
               {"select_layer", -1},
               {"force_image_size", 24}};
  const auto checkpoint = open_checkpoint(place.path("model.safetensors"));
  VlmConfig vlm = parse_vlm_config(chat, "internvl_chat");
  EXPECT_FALSE(vlm.tokens.image.has_value());  // it is the tokenizer's
  VisionInputs inputs;
  inputs.pixel_values = expected.at("one_image.pixel_values");
  const at::Tensor found = encode(load_vision_part(*checkpoint, vlm), inputs).features;
  EXPECT_TRUE(all_close(found, expected.at("one_image.image_features"), 3e-5));
  // The first version exchanges rows and columns of a tile's tokens.
  chat.erase("ps_version");
  vlm = parse_vlm_config(chat, "internvl_chat");
  const at::Tensor first = encode(load_vision_part(*checkpoint, vlm), inputs).features;
  const at::Tensor turned = found.view({7, 3, 3, -1}).transpose(1, 2).reshape({63, -1});
  EXPECT_TRUE(all_close(first, turned, 1e-5));
  EXPECT_FALSE(all_close(first, found, 1e-2));
}

// SigLIP 2 NaFlex with Qwen's merger, against the formulas written out picture by picture.
class Naflex : public ::testing::Test {
 protected:
  static constexpr int64_t kWidth = 8, kInner = 12, kHeads = 2, kPatch = 2, kSide = 5, kText = 6, kLayers = 2;

  at::Tensor make(const std::string& name, std::vector<int64_t> shape) {
    return tensors_[name] = at::randn(shape).mul(0.4);
  }

  Naflex() {
    const std::string visual = "model.visual.";
    make(visual + "embeddings.patch_embedding.weight", {kWidth, 3, 2, kPatch, kPatch});
    make(visual + "embeddings.patch_embedding.bias", {kWidth});
    make(visual + "position_embedding.weight", {kSide * kSide, kWidth});
    for (int64_t l = 0; l < kLayers; ++l) {
      const std::string layer = visual + "encoder.layers." + std::to_string(l) + ".";
      for (const char* norm : {"layer_norm1", "layer_norm2"}) {
        make(layer + norm + ".weight", {kWidth});
        make(layer + norm + ".bias", {kWidth});
      }
      for (const char* map : {"q_proj", "k_proj", "v_proj", "out_proj"}) {
        make(layer + "self_attn." + map + ".weight", {kWidth, kWidth});
        make(layer + "self_attn." + map + ".bias", {kWidth});
      }
      make(layer + "mlp.fc1.weight", {kInner, kWidth});
      make(layer + "mlp.fc1.bias", {kInner});
      make(layer + "mlp.fc2.weight", {kWidth, kInner});
      make(layer + "mlp.fc2.bias", {kWidth});
    }
    make(visual + "adaptor.ln_q.weight", {kWidth});
    make(visual + "adaptor.ln_q.bias", {kWidth});
    make(visual + "adaptor.mlp.0.weight", {4 * kWidth, 4 * kWidth});
    make(visual + "adaptor.mlp.0.bias", {4 * kWidth});
    make(visual + "adaptor.mlp.2.weight", {kText, 4 * kWidth});
    make(visual + "adaptor.mlp.2.bias", {kText});
    write_safetensors(folder_.path("model.safetensors"), tensors_);
    config_ = {{"model_type", "qwen2_5_vl"},
               {"text_config", {{"model_type", "qwen2"}, {"hidden_size", kText}}},
               {"vision_config",
                {{"model_type", "siglip2_vision_model"},
                 {"hidden_size", kWidth},
                 {"intermediate_size", kInner},
                 {"num_hidden_layers", kLayers},
                 {"num_attention_heads", kHeads},
                 {"patch_size", kPatch},
                 {"num_patches", kSide * kSide}}}};
  }

  at::Tensor of(const std::string& name) const { return tensors_.at("model.visual." + name); }
  at::Tensor apply(const at::Tensor& x, const std::string& name) const {
    return at::linear(x, of(name + ".weight"), of(name + ".bias"));
  }
  at::Tensor normed(const at::Tensor& x, const std::string& name) const {
    return at::layer_norm(x, {kWidth}, of(name + ".weight"), of(name + ".bias"), 1e-6);
  }

  at::Tensor place(double row, double column) const {
    const at::Tensor table = of("position_embedding.weight").view({kSide, kSide, kWidth});
    const auto r = static_cast<int64_t>(row), c = static_cast<int64_t>(column);
    const auto below = std::min(r + 1, kSide - 1), right = std::min(c + 1, kSide - 1);
    const double dr = row - static_cast<double>(r), dc = column - static_cast<double>(c);
    return table[r][c].mul((1 - dr) * (1 - dc)) + table[r][right].mul((1 - dr) * dc) +
           table[below][c].mul(dr * (1 - dc)) + table[below][right].mul(dr * dc);
  }

  // One frame pair: [h w, 3 * 2 * p * p] -> [h w / 4, kText].
  at::Tensor written_out(const at::Tensor& patches, int64_t h, int64_t w) const {
    std::vector<at::Tensor> places;
    for (int64_t block = 0; block < h * w / 4; ++block) {
      for (int64_t inside = 0; inside < 4; ++inside) {
        const int64_t row = block / (w / 2) * 2 + inside / 2, column = block % (w / 2) * 2 + inside % 2;
        const double last = static_cast<double>(kSide - 1);
        places.push_back(place(last * static_cast<double>(row) / static_cast<double>(h - 1),
                               last * static_cast<double>(column) / static_cast<double>(w - 1)));
      }
    }
    at::Tensor x = at::linear(patches, of("embeddings.patch_embedding.weight").flatten(1),
                              of("embeddings.patch_embedding.bias")) +
                   at::stack(places);
    for (int64_t l = 0; l < kLayers; ++l) {
      const std::string layer = "encoder.layers." + std::to_string(l) + ".";
      const at::Tensor n = normed(x, layer + "layer_norm1");
      const auto heads = [&](const char* map) {
        return apply(n, layer + "self_attn." + map).view({h * w, kHeads, kWidth / kHeads}).transpose(0, 1);
      };
      const at::Tensor scores = at::matmul(heads("q_proj"), heads("k_proj").transpose(1, 2))
                                    .div(std::sqrt(double(kWidth) / kHeads));
      const at::Tensor mixed =
          at::matmul(scores.softmax(-1), heads("v_proj")).transpose(0, 1).reshape({h * w, kWidth});
      x = x + apply(mixed, layer + "self_attn.out_proj");
      x = x + apply(at::gelu(apply(normed(x, layer + "layer_norm2"), layer + "mlp.fc1"), "tanh"),
                    layer + "mlp.fc2");
    }
    const at::Tensor merged = normed(x, "adaptor.ln_q").view({h * w / 4, 4 * kWidth});
    return apply(at::gelu(apply(merged, "adaptor.mlp.0")), "adaptor.mlp.2");
  }

  std::map<std::string, at::Tensor> tensors_;
  TemporaryFolder folder_;
  Json config_;
};

TEST_F(Naflex, AsTheFormulasSay) {
  const at::NoGradGuard no_grad;
  const VlmConfig vlm = parse_vlm_config(config_, "config.json");
  EXPECT_EQ(vlm.family->name, "naflex");
  const auto checkpoint = open_checkpoint(folder_.path("model.safetensors"));
  const VisionPart part = load_vision_part(*checkpoint, vlm);
  VisionInputs inputs;
  inputs.grids = {{1, 4, 6}, {2, 6, 2}};
  inputs.pixel_values = at::randn({24 + 24, 3 * 2 * kPatch * kPatch});
  const VisionFeatures found = encode(part, inputs);
  EXPECT_EQ(found.lengths, (std::vector<int64_t>{6, 6}));
  const at::Tensor expected = at::cat({written_out(inputs.pixel_values.narrow(0, 0, 24), 4, 6),
                                       written_out(inputs.pixel_values.narrow(0, 24, 12), 6, 2),
                                       written_out(inputs.pixel_values.narrow(0, 36, 12), 6, 2)});
  EXPECT_TRUE(all_close(found.features, expected, 1e-5));
}

// Largest resident memory since the last call, MiB.
int64_t peak_memory() {
  int64_t peak = 0;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) peak = std::stoll(line.substr(6)) / 1024;
  }
  std::ofstream("/proc/self/clear_refs") << 5;  // the present memory becomes the largest
  return peak;
}

// One picture of 16,384 patches: all scores of a layer would be 2 GiB. And many more patches in pictures that go through
// the tower in several batches, frame pairs of a video among them.
TEST_F(Naflex, LargePicturesAndLongVideos) {
  const at::NoGradGuard no_grad;
  const auto checkpoint = open_checkpoint(folder_.path("model.safetensors"));
  const VisionPart part = load_vision_part(*checkpoint, parse_vlm_config(config_, "config.json"));
  VisionInputs inputs;
  inputs.grids = {{1, 128, 128}};
  inputs.pixel_values = at::randn({128 * 128, 24});
  peak_memory();
  const int64_t before = peak_memory();
  const at::Tensor large = encode(part, inputs).features;
  EXPECT_EQ(large.size(0), 64 * 64);
  EXPECT_LT(peak_memory() - before, 256) << "MiB";
  VisionInputs more;
  more.grids = {{1, 4, 6}, {30, 32, 32}, {1, 4, 4}};
  more.pixel_values = at::randn({24 + 30 * 1024 + 16, 24});
  const VisionFeatures all = encode(part, more);
  EXPECT_EQ(all.lengths, (std::vector<int64_t>{6, 30 * 256, 4}));
  VisionInputs last;
  last.grids = {{1, 4, 4}};
  last.pixel_values = more.pixel_values.narrow(0, 24 + 30 * 1024, 16);
  EXPECT_TRUE(all_close(all.features.narrow(0, 6 + 30 * 256, 4), encode(part, last).features, 1e-5));
  last.grids = {{1, 32, 32}};
  last.pixel_values = more.pixel_values.narrow(0, 24 + 20 * 1024, 1024);
  EXPECT_TRUE(all_close(all.features.narrow(0, 6 + 20 * 256, 256), encode(part, last).features, 1e-5));
}

}  // namespace
}  // namespace ropescope
