// Ids made wrong on purpose, one for each kind of mistake, out of ids that another implementation made (tests/golden/vlm).
#include <gtest/gtest.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>

#include "tests/cli/audit_runs.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

class AuditMistakes : public AuditRuns {
 protected:
  // image_video of Qwen2.5-VL: a picture of 4 x 5 tokens from token 4 on, a clip of four groups of 2 x 4 from token 31 on,
  // which begins at id 16, text from token 63 on.
  static constexpr int64_t kClip = 31, kGroup = 8, kText = 63, kClipBegins = 16;

  /// The case with other time ids, and text behind the clip that goes on at `next`.
  static at::Tensor with_times(const at::Tensor& right, std::initializer_list<int64_t> times, int64_t next) {
    at::Tensor ids = right.clone();
    int64_t token = kClip;
    for (const int64_t time : times) {
      ids[0].narrow(0, token, kGroup).fill_(static_cast<double>(kClipBegins + time));
      token += kGroup;
    }
    ids.narrow(1, kText, ids.size(1) - kText).copy_(counted(next, ids.size(1) - kText));
    return ids;
  }

  const AuditedCase image_{"qwen2_vl", "one_image"}, clip_{"qwen2_5_vl", "image_video"};
};

TEST_F(AuditMistakes, OneRowForPictures) {
  const Json report = expect_mistake(image_, counted(0, image_.tokens()), "1-d-fallback");
  // The picture of 4 x 6 tokens begins with token 4; the second one is the first whose time id moves on.
  EXPECT_EQ(report["first_difference"], Json({{"row", 0},
                                              {"token", 5},
                                              {"axis", "t"},
                                              {"expected", 4.0},
                                              {"found", 5.0},
                                              {"modality", "image"},
                                              {"in", "image 0"}}));
  // A record of one row is the same.
  expect_mistake(image_, counted(0, image_.tokens()).narrow(0, 0, 1), "1-d-fallback");
}

TEST_F(AuditMistakes, DecodingWithoutTheDelta) {
  const at::Tensor right = continued(image_.ids, 20, 6);  // rope_delta -18 of 38 tokens
  EXPECT_EQ(audit(image_, right, 0)["generated_tokens"], 6);
  const Json report = expect_mistake(image_, continued(image_.ids, 38, 6), "missing-rope-delta");
  EXPECT_EQ(report["first_difference"]["in"], "generated");
  EXPECT_EQ(report["first_difference"]["expected"], 20.0);
  EXPECT_EQ(report["differing_tokens"], 6);
  expect_mistake(image_, continued(image_.ids, 0, 6), "decode-from-zero");
  const Json stale = expect_mistake(image_, continued(image_.ids, 14, 6), "stale-rope-delta");
  EXPECT_NE(stale["looks_like"][0]["sentence"].get<std::string>().find("a delta of -24"), std::string::npos);
}

TEST_F(AuditMistakes, PaddingThatCounts) {
  const at::Tensor pad = at::full({7}, 1, at::kLong);
  AuditedCase padded = image_;
  const at::Tensor tokens = image_.inputs.at("input_ids").reshape({-1});
  padded.inputs["input_ids"] = at::cat({pad, tokens});
  padded.inputs["attention_mask"] = at::cat({pad.sub(1), at::ones({image_.tokens()}, at::kLong)});
  const at::Tensor filler = at::full({3, 7}, 1, at::kFloat);
  EXPECT_EQ(audit(padded, at::cat({filler, image_.ids}, 1), 0)["hidden_tokens"], 7);
  expect_mistake(padded, at::cat({counted(0, 7), image_.ids.add(7)}, 1), "padding-counted");
  // Two at once: nothing knew of padding, nor of pictures.
  expect_mistake(padded, counted(0, 7 + image_.tokens() + 3), "1-d-fallback+padding-counted");
}

class AuditPacked : public AuditMistakes {
 protected:
  AuditPacked() {
    const AuditedCase text("qwen2_vl", "text_only"), two("qwen2_vl", "two_images");
    const auto row = [](const AuditedCase& of) { return of.inputs.at("input_ids").reshape({-1}); };
    packed_.inputs = {
        {"input_ids", at::cat({row(image_), row(text), row(two)})},
        {"image_grid_thw", at::cat({image_.inputs.at("image_grid_thw"), two.inputs.at("image_grid_thw")})}};
    packed_.ids = at::cat({image_.ids, text.ids, two.ids}, 1);
    // Each text behind the largest id of the one before: 19, then 14 of the text.
    joined_ = at::cat({image_.ids, text.ids.add(20), two.ids.add(35)}, 1);
    masked_ = at::cat({image_.ids, at::full({3, text.tokens() + two.tokens()}, 1, at::kFloat)}, 1);
    lengths_ = {image_.tokens(), text.tokens(), two.tokens()};
  }
  std::string segments() const {
    return "--segments " + std::to_string(lengths_[0]) + "," + std::to_string(lengths_[1]) + "," +
           std::to_string(lengths_[2]);
  }
  AuditedCase packed_{"qwen2_vl", "one_image"};
  at::Tensor joined_, masked_;
  std::vector<int64_t> lengths_;
};

TEST_F(AuditPacked, RowsThatDoNotRestart) {
  audit(packed_, packed_.ids, 0, segments());
  const Json report = expect_mistake(packed_, joined_, "packed-not-restarted", segments());
  EXPECT_EQ(report["first_difference"]["token"], lengths_[0]);
  expect_mistake(packed_, masked_, "packed-parts-masked", segments());
  // Without a word about packing the joined ids are the rule, and restarts are what has to be explained.
  audit(packed_, joined_, 0);
  expect_mistake(packed_, packed_.ids, "packed-row-unsaid");
}

TEST_F(AuditPacked, MaskOrLengthsInAFileSayTheTexts) {
  std::vector<at::Tensor> numbers;
  std::vector<int64_t> ends = {0};
  for (size_t i = 0; i < lengths_.size(); ++i) {
    numbers.push_back(at::full({lengths_[i]}, static_cast<int64_t>(i) + 1, at::kLong));
    ends.push_back(ends.back() + lengths_[i]);
  }
  AuditedCase numbered = packed_;
  numbered.inputs["attention_mask"] = at::cat(numbers);
  audit(numbered, packed_.ids, 0);
  expect_mistake(numbered, joined_, "packed-not-restarted");
  AuditedCase ended = packed_;
  ended.inputs["cu_seqlens"] = at::tensor(ends, at::kLong);
  audit(ended, packed_.ids, 0);
}

TEST_F(AuditMistakes, ChunksThatRestart) {
  const at::Tensor columns = at::arange(image_.tokens(), at::kLong).remainder(16);
  expect_mistake(image_, image_.ids.index_select(1, columns), "chunk-restarted");
}

TEST_F(AuditMistakes, Transformers5AfterAVideo) {
  const auto golden = golden_tensors(vlm_file("qwen2_5_vl", "expected.safetensors"));
  const at::Tensor newer = golden.at("image_video.position_ids").to(at::kFloat);
  const Json report = expect_mistake(clip_, newer, "transformers-5-after-video");
  EXPECT_EQ(report["first_difference"]["token"], kText);
  // generate() goes on at 27, the rope delta says 33 (expected.json).
  expect_mistake(clip_, continued(newer, 27, 4), "transformers-5-after-video");
  expect_mistake(clip_, continued(newer, 33, 4), "transformers-5-after-video");
}

TEST_F(AuditMistakes, TextBehindAPictureAtItsTokens) {
  at::Tensor ids = image_.ids.clone();  // 24 tokens cost 24 ids, not 6
  ids.narrow(1, 28, ids.size(1) - 28).add_(18);
  expect_mistake(image_, ids, "token-count-after-picture");
}

TEST_F(AuditMistakes, SpatialReset) {
  at::Tensor ids = image_.ids.clone();  // the picture begins at id 4
  ids.narrow(0, 1, 2).narrow(1, 4, 24).sub_(4);
  expect_mistake(image_, ids, "spatial-reset");
  ids[0].narrow(0, 4, 24).sub_(4);
  expect_mistake(image_, ids, "spatial-reset");
}

TEST_F(AuditMistakes, AxesInAnotherOrder) {
  const auto order = [&](std::vector<int64_t> axes) {
    return image_.ids.index_select(0, at::tensor(axes, at::kLong));
  };
  expect_mistake(image_, order({0, 2, 1}), "axes-exchanged");
  expect_mistake(image_, order({2, 0, 1}), "axes-exchanged");
}

// 2.6667 seconds a group and two ids a second: steps of 5.33 ids, times 0 5 10 16.
TEST_F(AuditMistakes, TimeOfAClip) {
  ASSERT_TRUE(with_times(clip_.ids, {0, 5, 10, 16}, 33).equal(clip_.ids));
  // 25 frames a second in place of 0.75: steps of 0.16.
  const at::Tensor source = with_times(clip_.ids, {0, 0, 0, 0}, 20);
  expect_mistake(clip_, source, "fps-exchanged");
  const Json known = expect_mistake(clip_, source, "fps-exchanged", "--source-fps 25");
  expect_mistake(clip_, source, "time-ids-collide");
  EXPECT_EQ(known["first_difference"]["in"], "video 0");
  expect_mistake(clip_, with_times(clip_.ids, {0, 2, 4, 6}, 23), "second-per-grid-missing");
  expect_mistake(clip_, with_times(clip_.ids, {0, 4, 8, 12}, 29), "seconds-cut");
  expect_mistake(clip_, with_times(clip_.ids, {0, 1, 2, 3}, 20), "frames-counted");
  // Eight frames a second would be half an id a group.
  const Json shared = expect_mistake(clip_, with_times(clip_.ids, {0, 0, 1, 1}, 20), "time-ids-collide");
  EXPECT_EQ(shared["looks_like"].size(), 1U);
  expect_mistake(clip_, with_times(clip_.ids, {0, 3, 6, 9}, 26), "time-step");
  // Text behind the clip as in transformers 5 besides: two at once.
  expect_mistake(clip_, with_times(clip_.ids, {0, 4, 8, 12}, 20), "transformers-5-after-video+seconds-cut");
}

// Transformers 5.3: the picture's time ids are twice the id that it begins with (4), the clip's four times (16).
TEST_F(AuditMistakes, OriginTimesTheRateOfIds) {
  at::Tensor ids = with_times(clip_.ids, {48, 48, 48, 48}, 20);
  ids[0].narrow(0, 4, 20).fill_(8);
  expect_mistake(clip_, ids, "time-scales-origin");
}

TEST_F(AuditMistakes, RowsThatAreMoved) {
  const Json report = expect_mistake(image_, image_.ids.add(5), "shifted");
  EXPECT_NE(report["looks_like"][0]["sentence"].get<std::string>().find("by 5"), std::string::npos);
}

// What nobody's code is known to do is not explained away.
TEST_F(AuditMistakes, UnknownOnesStayUnknown) {
  at::Tensor ids = clip_.ids.clone();
  ids[1][40].add_(100);
  ids[2][10].sub_(3);
  ids[0][66].add_(17);
  const Json report = audit(clip_, ids, 1);
  EXPECT_EQ(report["differing_tokens"], 3);
  EXPECT_TRUE(report["looks_like"].empty()) << report;
}

}  // namespace
}  // namespace ropescope
