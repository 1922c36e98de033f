// Towers and connectors of every vision-language family against golden numbers; tolerance of tests/golden/vlm.
#include "ropescope/models/vision_part.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include "ropescope/architectures/llava_names.h"
#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/models/llava.h"
#include "ropescope/vision/preprocess.h"
#include "ropescope/weights/renamed_checkpoint.h"

#include "tests/support/finite_differences.h"
#include "tests/support/golden.h"
#include "tests/support/refusal.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::HasSubstr;

constexpr double kVisionFeatures = 3e-5;

std::vector<PatchGrid> grids_of(const at::Tensor& rows) {
  std::vector<PatchGrid> grids;
  for (int64_t i = 0; i < rows.size(0); ++i) {
    grids.push_back({rows[i][0].item<int64_t>(), rows[i][1].item<int64_t>(), rows[i][2].item<int64_t>()});
  }
  return grids;
}

// The pixels of OneVision's pictures (several of a nested list are not cut), as the golden files have them.
std::vector<std::optional<AnyresGeometry>> onevision_geometry(const Json& config, const at::Tensor& sizes_hw,
                                                              bool nested) {
  AnyresOptions options;
  options.pinpoints = parse_pinpoints(config.at("image_grid_pinpoints"), "config.json");
  options.tile_size = config.at("vision_config").at("image_size");
  options.patch_size = config.at("vision_config").at("patch_size");
  std::vector<std::optional<AnyresGeometry>> pictures;
  for (int64_t i = 0; i < sizes_hw.size(0); ++i) {
    if (nested) {
      pictures.emplace_back();
    } else {
      pictures.emplace_back(
          anyres_geometry(sizes_hw[i][1].item<int64_t>(), sizes_hw[i][0].item<int64_t>(), options));
    }
  }
  return pictures;
}

struct VlmGolden {
  explicit VlmGolden(const std::string& name, const char* config_file = "config.json")
      : folder("vlm/" + name), config(golden_json(folder + "/" + config_file)) {
    vlm = parse_vlm_config(config, name);
    checkpoint = open_checkpoint(golden_path(folder + "/model.safetensors"));
  }

  bool has(const std::string& name) const { return expected.count(name) > 0; }

  VisionInputs images(const std::string& name) const {
    VisionInputs inputs;
    inputs.pixel_values = expected.at(name + ".pixel_values");
    if (has(name + ".image_grid_thw")) inputs.grids = grids_of(expected.at(name + ".image_grid_thw"));
    if (has(name + ".image_sizes")) {
      const at::Tensor& sizes = expected.at(name + ".image_sizes");
      const at::Tensor& lists = expected.at(name + ".batch_num_images");
      inputs.anyres = onevision_geometry(config, sizes, sizes.size(0) > 1 && lists.size(0) == 1);
    }
    return inputs;
  }

  VisionInputs videos(const std::string& name) const {
    VisionInputs inputs;
    inputs.pixel_values = expected.at(name + ".pixel_values_videos");
    inputs.grids = grids_of(expected.at(name + ".video_grid_thw"));
    return inputs;
  }

  std::string folder;
  Json config;
  VlmConfig vlm;
  std::shared_ptr<const Checkpoint> checkpoint;
  std::map<std::string, at::Tensor> expected = golden_tensors(folder + "/expected.safetensors");
};

const std::vector<std::string> kGoldenVlms = {"qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5",
                                              "glm4v",    "llava",      "internvl", "llava_onevision",
                                              "idefics3", "smolvlm",    "gemma3"};

class VisionGolden : public ::testing::TestWithParam<std::string> {
 protected:
  VlmGolden golden_{GetParam()};
  VisionPart part_ = load_vision_part(*golden_.checkpoint, golden_.vlm);
};

INSTANTIATE_TEST_SUITE_P(Families, VisionGolden, ::testing::ValuesIn(kGoldenVlms),
                         [](const auto& instance) { return instance.param; });

TEST_P(VisionGolden, FeaturesOfEveryCase) {
  const at::NoGradGuard no_grad;
  int64_t compared = 0;
  const auto compare = [&](const std::string& name, const std::string& kind, const VisionInputs& inputs) {
    SCOPED_TRACE(name + " " + kind);
    const VisionFeatures found = encode(part_, inputs);
    EXPECT_TRUE(
        all_close(found.features, golden_.expected.at(name + "." + kind + "_features"), kVisionFeatures));
    int64_t tokens = 0;
    for (const int64_t length : found.lengths) tokens += length;
    EXPECT_EQ(tokens, found.features.size(0));
    EXPECT_EQ(golden_.has(name + "." + kind + "_deepstack." + std::to_string(found.deepstack.size())), false);
    for (size_t j = 0; j < found.deepstack.size(); ++j) {
      const std::string key = name + "." + kind + "_deepstack." + std::to_string(j);
      EXPECT_TRUE(all_close(found.deepstack[j], golden_.expected.at(key), kVisionFeatures)) << j;
    }
    ++compared;
  };
  const Json cases = golden_json(golden_.folder + "/expected.json").at("cases");
  for (const Json& one : cases) {
    const std::string name = one.at("name");
    if (golden_.has(name + ".pixel_values")) compare(name, "image", golden_.images(name));
    if (golden_.has(name + ".pixel_values_videos")) compare(name, "video", golden_.videos(name));
  }
  EXPECT_GE(compared, 4);
}

TEST_P(VisionGolden, EveryHiddenState) {
  const at::NoGradGuard no_grad;
  int64_t seen = 0;
  VisionTaps taps;
  taps.hidden = [&](int64_t depth, const at::Tensor& hidden) {
    const auto found = golden_.expected.find("one_image.vision_hidden." + std::to_string(depth));
    if (found == golden_.expected.end()) return;
    EXPECT_TRUE(all_close(hidden, found->second, kVisionFeatures)) << depth;
    ++seen;
  };
  encode(part_, golden_.images("one_image"), taps);
  // LLaVA takes the last but one and runs no further.
  EXPECT_EQ(seen, golden_.vlm.feature_layers.back() + 1);
}

TEST_P(VisionGolden, StreamedLayersGiveTheSameBits) {
  const at::NoGradGuard no_grad;
  VisionLoadOptions options;
  options.streamed = true;
  const VisionPart streamed = load_vision_part(golden_.checkpoint, golden_.vlm, options);
  EXPECT_TRUE(at::equal(encode(streamed, golden_.images("one_image")).features,
                        encode(part_, golden_.images("one_image")).features));
}

// All prefixes that published files and those of transformers put before the parts.
TEST_P(VisionGolden, EveryPrefixOfTheNames) {
  const at::NoGradGuard no_grad;
  const at::Tensor expected = encode(part_, golden_.images("one_image")).features;
  const std::vector<std::pair<std::string, std::string>> changes = {
      {"visual.", "model.visual."},
      {"model.visual.", "visual."},
      {"vision_tower.", "vision_tower.vision_model."},
      {"vision_tower.", "model.vision_tower."},
      {"multi_modal_projector.", "model.multi_modal_projector."},
      {"image_newline", "model.image_newline"},
  };
  for (const auto& [from, to] : changes) {
    SCOPED_TRACE(from + " as " + to);
    const auto renamed =
        rename_tensors(*golden_.checkpoint, [&, from = from, to = to](const std::string& name) {
          return std::optional<std::string>(name.starts_with(from) ? to + name.substr(from.size()) : name);
        });
    EXPECT_TRUE(at::equal(
        encode(load_vision_part(*renamed, golden_.vlm), golden_.images("one_image")).features, expected));
  }
}

TEST_P(VisionGolden, NamesWhatIsMissingOrOfAnotherShape) {
  const auto without_last = [&](const std::string& part) {
    const auto cut = rename_tensors(*golden_.checkpoint, [&](const std::string& name) {
      return name.find(part) != std::string::npos ? std::nullopt : std::optional<std::string>(name);
    });
    return refusal_of([&] { load_vision_part(*cut, golden_.vlm); });
  };
  const std::string layer = part_.config.vision.packed ? "blocks.1.norm1" : "layer";
  EXPECT_THAT(without_last(layer), HasSubstr("are missing"));
  VlmConfig wide = golden_.vlm;
  wide.vision.intermediate_size += 1;
  EXPECT_THAT(refusal_of([&] { load_vision_part(*golden_.checkpoint, wide); }), HasSubstr("expected ["));
  wide = golden_.vlm;
  wide.connector.out += 1;
  EXPECT_THAT(refusal_of([&] { load_vision_part(*golden_.checkpoint, wide); }), HasSubstr("connector"));
}

TEST_P(VisionGolden, RefusesPixelsThatDoNotFit) {
  VisionInputs inputs = golden_.images("one_image");
  inputs.pixel_values = at::zeros({3, 5});
  EXPECT_THROW(encode(part_, inputs), InputError);
  inputs = golden_.images("one_image");
  if (part_.config.vision.packed) {
    inputs.grids.push_back(inputs.grids.front());
    EXPECT_THAT(refusal_of([&] { encode(part_, inputs); }), HasSubstr("pixel_values: expected ["));
    inputs.grids = {{1, 3, 4}};
    EXPECT_THAT(refusal_of([&] { encode(part_, inputs); }), HasSubstr("grid_thw"));
  } else {
    inputs.pixel_values = at::zeros({1, 3, 5, 5});
    inputs.anyres.resize(std::min<size_t>(inputs.anyres.size(), 1));
    EXPECT_THROW(encode(part_, inputs), InputError);
  }
}

// Every tensor of the file that is not the decoder's, once, but for layers that LLaVA does not run and its last norm.
TEST_P(VisionGolden, SlotsAreTheFilesTensors) {
  std::map<std::string, int64_t> numbers;
  for (const TensorSlot& slot : vision_part_slots(part_)) {
    ASSERT_TRUE(slot.target->defined()) << slot.name;
    EXPECT_EQ(slot.target->sizes().vec(), slot.shape) << slot.name;
    numbers[slot.file_name()] += slot.target->numel();
  }
  for (const TensorInfo& info : golden_.checkpoint->tensors()) {
    const LlavaPart part = llava_role(info.name).part;
    const bool unused = (GetParam() == "llava" && (info.name.find("layers.2.") != std::string::npos)) ||
                        (!golden_.vlm.post_norm && !golden_.vlm.vision.packed &&
                         info.name.find("post_layernorm") != std::string::npos);
    if (part == LlavaPart::kDecoder || unused) {
      EXPECT_EQ(numbers.count(info.name), 0u) << info.name;
      continue;
    }
    int64_t size = 1;
    for (const int64_t extent : info.shape) size *= extent;
    EXPECT_EQ(numbers[info.name], size) << info.name;
  }
}

// In bfloat16, which the pixels are brought to: as close as its eight bits allow.
TEST_P(VisionGolden, InBfloat16) {
  const at::NoGradGuard no_grad;
  VisionLoadOptions options;
  options.dtype = at::kBFloat16;
  const VisionPart part = load_vision_part(*golden_.checkpoint, golden_.vlm, options);
  const at::Tensor& expected = golden_.expected.at("one_image.image_features");
  const at::Tensor found = encode(part, golden_.images("one_image")).features;
  EXPECT_EQ(found.scalar_type(), at::kBFloat16);
  EXPECT_LT(found.to(at::kFloat).sub(expected).norm().div(expected.norm()).item<double>(), 0.05);
}

// In one line, whatever part of the tower is needed; what a part has no use for is not among them.
TEST_P(VisionGolden, WarnsOfNamesThatItDoesNotKnow) {
  std::map<std::string, at::Tensor> tensors = golden_tensors(golden_.folder + "/model.safetensors");
  ::testing::internal::CaptureStderr();
  load_vision_part(*golden_.checkpoint, golden_.vlm);
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  const VlmFamily& family = *golden_.vlm.family;
  tensors[family.tower_prefix + "register_tokens"] = at::zeros({2});
  const TemporaryFolder folder;
  write_safetensors(folder.path("model.safetensors"), tensors);
  const auto checkpoint = open_checkpoint(folder.path("model.safetensors"));
  ::testing::internal::CaptureStderr();
  load_vision_part(*checkpoint, golden_.vlm);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              HasSubstr("1 tensors are not part of the vision tower and were left out: register_tokens"));
}

VisionPart in_double(const VlmGolden& golden) {
  VisionLoadOptions options;
  options.dtype = at::kDouble;
  return load_vision_part(*golden.checkpoint, golden.vlm, options);
}

// Windows, full layers, rotation, stretched positions, mergers, DeepStack: the gradients of one loss over all of them.
TEST(VisionPart, GradientsAreThoseOfFiniteDifferences) {
  for (const std::string name :
       {"qwen2_5_vl", "qwen3_vl", "glm4v", "internvl", "gemma3", "llava_onevision"}) {
    SCOPED_TRACE(name);
    const VlmGolden golden(name);
    VisionPart part = in_double(golden);
    VisionInputs inputs = golden.images("one_image");
    inputs.pixel_values = inputs.pixel_values.to(at::kDouble).requires_grad_(true);
    std::vector<at::Tensor> leaves = {inputs.pixel_values};
    VisionLayerWeights& layer = part.tower.weights.layers.front();
    for (at::Tensor* weight :
         {&layer.q.weight, &layer.fc2.weight, &layer.norm1.weight, &part.tower.weights.position,
          &part.connector.weights.first.weight, &part.image_newline, &layer.scale1}) {
      if (!weight->defined()) continue;
      *weight = weight->clone().requires_grad_(true);
      leaves.push_back(*weight);
    }
    EXPECT_TRUE(requires_grad(part));
    const auto loss = [&] {
      const VisionFeatures found = encode(part, inputs);
      at::Tensor sum = found.features.square().mean();
      for (const at::Tensor& deep : found.deepstack) sum = sum.add(deep.square().mean());
      return sum;
    };
    expect_finite_differences(loss, leaves, 1e-5);
  }
}

TEST(VisionPart, AFrozenTowerLeavesNoGraph) {
  const VlmGolden golden("qwen3_vl");
  VisionPart part = load_vision_part(*golden.checkpoint, golden.vlm);
  part.connector.weights.second.weight = part.connector.weights.second.weight.clone().requires_grad_(true);
  const VisionFeatures found = encode(part, golden.images("one_image"));
  EXPECT_TRUE(found.features.requires_grad());
  EXPECT_FALSE(found.deepstack.front().requires_grad());
}

TEST(VisionPart, PicturesDoNotDependOnEachOther) {
  const at::NoGradGuard no_grad;
  const VlmGolden golden("qwen2_5_vl");
  const VisionPart part = load_vision_part(*golden.checkpoint, golden.vlm);
  VisionInputs both = golden.images("two_images");
  const VisionFeatures together = encode(part, both);
  int64_t patch = 0, token = 0;
  ASSERT_EQ(both.grids.size(), 2u);
  for (size_t i = 0; i < both.grids.size(); ++i) {
    VisionInputs one = both;
    one.grids = {both.grids[i]};
    const int64_t patches = count_patches(one.grids, 2);
    one.pixel_values = both.pixel_values.narrow(0, patch, patches);
    EXPECT_TRUE(
        all_close(encode(part, one).features, together.features.narrow(0, token, together.lengths[i]), 2e-6));
    patch += patches;
    token += together.lengths[i];
  }
}

// Rows of the softmax, segment by segment: they sum to one, cover every patch once a layer, and stay inside a window or frame.
TEST(VisionPart, SegmentsOfAttention) {
  const at::NoGradGuard no_grad;
  const VlmGolden golden("qwen2_5_vl");
  const VisionPart part = load_vision_part(*golden.checkpoint, golden.vlm);
  VisionInputs inputs = golden.videos("video");
  const auto [t, h, w] = inputs.grids.front();
  std::map<int64_t, std::vector<int64_t>> patches, lengths;
  VisionTaps taps;
  taps.segment_attention = [&](int64_t layer, const at::Tensor& places, const at::Tensor& rows) {
    EXPECT_TRUE(all_close(rows.sum(-1), at::zeros({rows.size(0), rows.size(1)}).add(1), 1e-5));
    lengths[layer].push_back(places.size(0));
    for (int64_t i = 0; i < places.size(0); ++i) patches[layer].push_back(places[i].item<int64_t>());
  };
  encode(part, inputs, taps);
  ASSERT_EQ(patches.size(), 4u);
  for (auto& [layer, seen] : patches) {
    std::sort(seen.begin(), seen.end());
    ASSERT_EQ(static_cast<int64_t>(seen.size()), t * h * w);
    for (size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], static_cast<int64_t>(i));
    const bool full = layer % 2 == 1;
    EXPECT_EQ(*std::max_element(lengths[layer].begin(), lengths[layer].end()),
              full ? h * w : 4 * 4);  // windows of 2 x 2 merged tokens
  }
}

// LLaVA-NeXT in all of its forms, a tower in files of its own among them: the bits of models/llava.h.
TEST(VisionPart, LlavaNextIsTheSameModel) {
  const at::NoGradGuard no_grad;
  for (const std::string folder : {"llava-next-tiny-clip-llama", "llava-next-tiny-clip-llama/original",
                                   "llava-next-tiny-siglip-qwen2", "llava-next-tiny-siglip-qwen2/resaved"}) {
    SCOPED_TRACE(folder);
    const std::string path = golden_path("vision/" + folder);
    const LlavaConfig config = read_llava_config(path);
    const std::shared_ptr<const Checkpoint> checkpoint = open_checkpoint(path);
    const Llava llava = load_llava(*checkpoint, config, path, {});
    // The original form may have its tower elsewhere.
    const std::shared_ptr<const Checkpoint> without_tower =
        rename_tensors(*checkpoint, [](const std::string& name) {
          return name.find("vision_tower") == std::string::npos ? std::optional<std::string>(name)
                                                                : std::nullopt;
        });
    if (config.original) {
      EXPECT_THAT(refusal_of([&] { load_vision_part(without_tower, vlm_config_of(config), {}); }),
                  HasSubstr("no vision tower"));
    }
    const VisionPart part = config.original
                                ? load_vision_part(without_tower, vlm_config_of(config), {}, checkpoint)
                                : load_vision_part(checkpoint, vlm_config_of(config), {});
    const auto golden =
        golden_tensors("vision/" + folder.substr(0, folder.find('/')) + "/expected.safetensors");
    for (const std::string name : {"one_image", "two_images", "tie_square"}) {
      VisionInputs inputs;
      inputs.pixel_values = golden.at(name + ".pixel_values");
      const at::Tensor& sizes = golden.at(name + ".image_sizes_hw");
      std::vector<LlavaImage> images;
      for (int64_t i = 0; i < sizes.size(0); ++i) {
        inputs.anyres.emplace_back(anyres_geometry(sizes[i][1].item<int64_t>(), sizes[i][0].item<int64_t>(),
                                                   *read_preprocess_settings(path, std::nullopt).anyres));
        images.push_back({inputs.pixel_values[i], *inputs.anyres.back()});
      }
      EXPECT_TRUE(at::equal(encode(part, inputs).features, at::cat(image_embeddings(llava, images), 0)))
          << name;
    }
  }
}

}  // namespace
}  // namespace ropescope
