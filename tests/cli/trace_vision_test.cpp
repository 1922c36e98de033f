// `ropescope trace` with images and with vision towers alone, against the golden activations.
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>

#include "ropescope/io/result_file.h"

#include "tests/support/golden.h"
#include "tests/support/tiny_llava.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::HasSubstr;

Json list_of(const at::Tensor& ids) {
  Json list = Json::array();
  for (int64_t i = 0; i < ids.size(0); ++i) list.push_back(ids[i].item<int64_t>());
  return list;
}

class TraceVision : public ::testing::Test {
 protected:
  static std::string model(const std::string& name) {
    return " --model '" + golden_path("vision/" + name) + "'";
  }
  std::string out() const { return folder_.path("trace.h5"); }
  CommandResult trace(const std::string& flags) const {
    return run_ropescope("trace --quiet --force --output '" + out() + "' " + flags);
  }
  at::Tensor dataset(const std::string& name) const { return ResultReader(out()).read("/trace/" + name); }

  /// --tokens of one case, with position ids where they are given.
  std::string tokens(const at::Tensor& ids, const at::Tensor& positions = {}) {
    Json json = {{"input_ids", Json::array({list_of(ids)})}};
    if (positions.defined()) json["position_ids"] = Json::array({list_of(positions)});
    const std::string path = folder_.path("tokens" + std::to_string(files_++) + ".json");
    std::ofstream(path) << json.dump();
    return " --tokens '" + path + "'";
  }
  std::string pixels(const std::map<std::string, at::Tensor>& tensors) {
    const std::string path = folder_.path("pixels" + std::to_string(files_++) + ".safetensors");
    write_safetensors(path, tensors);
    return " --pixels '" + path + "'";
  }
  std::string pixels_of(const std::map<std::string, at::Tensor>& golden, const std::string& name) {
    return pixels({{"pixel_values", golden.at(name + ".pixel_values")},
                   {"image_sizes_hw", golden.at(name + ".image_sizes_hw")}});
  }

  TemporaryFolder folder_;
  int files_ = 0;
};

struct Folder {
  const char* name;
  const char* golden;
  bool original;
};

class TraceLlava : public TraceVision, public ::testing::WithParamInterface<Folder> {
 protected:
  std::string model() const { return TraceVision::model(GetParam().name); }
  at::Tensor golden(const std::string& name) const { return golden_.at(name); }
  /// The original form has no rows for the image token and padding.
  at::Tensor golden_logits(const std::string& name) const {
    const at::Tensor logits = golden(name);
    return GetParam().original ? logits.narrow(1, 0, 180) : logits;
  }
  std::map<std::string, at::Tensor> golden_ =
      golden_tensors(std::string("vision/") + GetParam().golden + "/expected.safetensors");
};

INSTANTIATE_TEST_SUITE_P(
    Tiny, TraceLlava,
    ::testing::Values(Folder{"llava-next-tiny-clip-llama", "llava-next-tiny-clip-llama", false},
                      Folder{"llava-next-tiny-clip-llama/original", "llava-next-tiny-clip-llama", true},
                      Folder{"llava-next-tiny-siglip-qwen2", "llava-next-tiny-siglip-qwen2", false},
                      Folder{"llava-next-tiny-siglip-qwen2/resaved", "llava-next-tiny-siglip-qwen2", false}));

TEST_P(TraceLlava, EmbeddingsLogitsAttention) {
  const std::string rule = GetParam().original ? " --pinpoints hf" : "";
  for (const std::string name : {"one_image", "two_images", "tie_square"}) {
    SCOPED_TRACE(name);
    const auto result =
        trace(model() + pixels_of(golden_, name) + rule + tokens(golden(name + ".input_ids_original")) +
              " --dump inputs_embeds,logits,attention --json");
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_TRUE(all_close(dataset("inputs_embeds")[0], golden(name + ".inputs_embeds"), 2e-5));
    EXPECT_TRUE(all_close(dataset("logits")[0], golden_logits(name + ".logits"), 5e-5));
    if (!GetParam().original) {
      EXPECT_TRUE(at::equal(dataset("input_ids")[0], golden(name + ".input_ids")));
    }
    for (const std::string layer : {"0", "1"}) {
      if (golden_.count(name + ".attentions." + layer) == 0) continue;
      EXPECT_TRUE(all_close(dataset("attention/" + layer)[0], golden(name + ".attentions." + layer), 1e-5));
    }
  }
}

TEST_P(TraceLlava, IdAlignFromTheImagesAndFromGivenIds) {
  const std::string rule = GetParam().original ? " --pinpoints hf" : "";
  const std::string form = GetParam().original ? ".input_ids_original" : ".input_ids";
  for (const std::string name : {"one_image", "two_images", "tie_square"}) {
    SCOPED_TRACE(name);
    const std::string images = model() + pixels_of(golden_, name) + rule;
    const at::Tensor positions = golden(name + ".idalign.position_ids");
    const at::Tensor logits = golden_logits(name + ".idalign.logits");
    auto result = trace(images + tokens(golden(name + form)) + " --scheme id-align --dump logits,attention");
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_TRUE(all_close(dataset("position_ids")[0][0], positions, 0));
    EXPECT_TRUE(all_close(dataset("logits")[0], logits, 5e-5));
    if (golden_.count(name + ".idalign.attentions.1") > 0) {
      EXPECT_TRUE(all_close(dataset("attention/1")[0], golden(name + ".idalign.attentions.1"), 1e-5));
    }
    result = trace(images + tokens(golden(name + form), positions));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_TRUE(all_close(dataset("logits")[0], logits, 5e-5));
  }
}

TEST_P(TraceLlava, PinpointsAsTheOriginalReadsThem) {
  // Without the flag, each form reads its own way.
  const std::string rule = GetParam().original ? "" : " --pinpoints original";
  const auto result = trace(model() + pixels_of(golden_, "tie_square") + rule +
                            tokens(golden("tie_square.input_ids_original")) + " --dump inputs_embeds,logits");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(all_close(dataset("inputs_embeds")[0], golden("tie_square.original_rule.inputs_embeds"), 2e-5));
  EXPECT_TRUE(all_close(dataset("logits")[0], golden_logits("tie_square.original_rule.logits"), 5e-5));
}

TEST_P(TraceLlava, TextAloneNeedsNoImage) {
  const auto result =
      trace(model() + tokens(golden("text_only.input_ids")) + " --dump inputs_embeds,logits,attention");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(all_close(dataset("inputs_embeds")[0], golden("text_only.inputs_embeds"), 2e-5));
  EXPECT_TRUE(all_close(dataset("logits")[0], golden_logits("text_only.logits"), 5e-5));
  EXPECT_TRUE(all_close(dataset("attention/1")[0], golden("text_only.attentions.1"), 1e-5));
}

TEST_P(TraceLlava, EverySchemeRunsOverTheImages) {
  const std::string images = model() + pixels_of(golden_, "two_images");
  for (const char* scheme : {"vanilla", "mrope:sections=2/3/3", "id-align+v2pe:delta=0.5",
                             "dipe:sections=2/3/3", "alibi", "videorope:sections=2/3/3"}) {
    const auto result = trace(images + tokens(golden("two_images.input_ids_original")) +
                              " --generate 3 --scheme '" + scheme + "'");
    EXPECT_EQ(result.exit_code, 0) << scheme << ": " << result.err;
    EXPECT_EQ(dataset("generated").size(1), 3);
  }
}

TEST_F(TraceVision, TowersAlone) {
  for (const std::string name : {"clip-vision-tiny", "siglip-vision-tiny"}) {
    SCOPED_TRACE(name);
    const auto golden = golden_tensors("vision/" + name + "/expected.safetensors");
    const auto result = trace(model(name) + pixels({{"pixel_values", golden.at("pixel_values")}}) +
                              " --dump vision_hidden,vision_attention,vision_feature");
    ASSERT_EQ(result.exit_code, 0) << result.err;
    for (const std::string n : {"0", "1", "2", "3"}) {
      EXPECT_TRUE(all_close(dataset("vision_hidden/" + n), golden.at("hidden_states." + n), 2e-5));
    }
    for (const std::string l : {"0", "1", "2"}) {
      EXPECT_TRUE(all_close(dataset("vision_attention/" + l), golden.at("attentions." + l), 1e-5));
    }
    EXPECT_TRUE(all_close(dataset("vision_feature"), golden.at("llava_feature"), 2e-5));
    EXPECT_TRUE(all_close(dataset("vision_pooled"), golden.at("pooler_output"), 1e-5));
  }
}

TEST_F(TraceVision, ImagesFromFiles) {
  const std::string picture = synthetic_image("rgba_64x41.png");
  const auto ids = golden_tensors("vision/llava-next-tiny-clip-llama/expected.safetensors")
                       .at("one_image.input_ids_original");
  const std::string llava = model("llava-next-tiny-clip-llama") + tokens(ids);
  const auto result = trace(llava + " --image '" + picture + "' --scheme id-align --json");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  // 64x41 in tiles of 56, patch 14: thumbnail 4x4; the pinpoint 112x56 keeps 4 rows of 6 columns and
  // newlines.
  const auto geometry =
      run_ropescope("preprocess --json" + model("llava-next-tiny-clip-llama") + " --image '" + picture + "'");
  EXPECT_EQ(dataset("logits").size(1),
            ids.size(0) - 1 + parse_json(geometry.out, "preprocess").at("tokens").get<int64_t>());
  const auto tower = trace(model("siglip-vision-tiny") + " --image '" + picture + "'");
  ASSERT_EQ(tower.exit_code, 0) << tower.err;
  EXPECT_EQ(dataset("vision_feature").sizes().vec(), (std::vector<int64_t>{1, 25, 48}));
}

TEST_F(TraceVision, MistakesAreSentences) {
  const auto golden = golden_tensors("vision/llava-next-tiny-clip-llama/expected.safetensors");
  const std::string llava = model("llava-next-tiny-clip-llama");
  const std::string ids = tokens(golden.at("one_image.input_ids_original"));
  const std::string image = pixels_of(golden, "one_image");
  const auto refused = [&](const std::string& flags, int code, const std::string& words) {
    const auto result = trace(flags);
    EXPECT_EQ(result.exit_code, code) << flags << result.err;
    EXPECT_THAT(result.err, HasSubstr(words));
  };
  refused(llava + ids, 3, "input_ids");
  refused(llava + tokens(golden.at("text_only.input_ids")) + image, 3, "expected tokens of 1 images and clips, found those of 0");
  refused(llava + ids + image + " --layout text:91 --scheme id-align", 2, "--layout");
  refused(llava + ids + image + " --pinpoints hff", 2, "--pinpoints");
  refused(llava + ids + image + " --dump vision_attention", 2, "vision_attention");
  refused(llava + ids + pixels({{"pixel_values", golden.at("one_image.pixel_values")}}), 3, "image_sizes_hw");
  refused(llava + ids +
              pixels({{"pixel_values", at::zeros({1, 2, 3, 56, 56})},
                      {"image_sizes_hw", golden.at("one_image.image_sizes_hw")}}),
          3, "tiles");
  refused(model("clip-vision-tiny"), 2, "--pixels");
  refused(model("clip-vision-tiny") + " --text hello", 2, "--text");
  refused(model("clip-vision-tiny") + pixels({{"pixel_values", at::zeros({1, 3, 8, 8})}}), 3,
          "[images, 3, 56, 56]");
  refused(" --model '" + golden_path("language/llama-tiny/safetensors-fp32") + "'" + ids + image, 2,
          "no vision tower");
}

}  // namespace
}  // namespace ropescope
