// Rows with images that go through the model together cost what they cost one by one.
#include "ropescope/train/vlm_batch.h"

#include <algorithm>
#include <numeric>

#include <gtest/gtest.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/autograd.h"
#include "ropescope/core/device.h"
#include "ropescope/vision/image.h"
#include "ropescope/vision/preprocess.h"

#include "tests/support/llava_next.h"
#include "tests/support/schemes.h"
#include "tests/support/tiny_llava.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

constexpr int64_t kIgnored = -100;

class LlavaBatches : public ::testing::Test {
 protected:
  LlavaBatches() {
    set_threads(1);  // these products are too small to share
    const std::string path = golden_path("vision/llava-next-tiny-clip-llama");
    llava_ = load_llava_next(path);
    settings_ = read_preprocess_settings(path);
  }

  MediaItem image(const std::string& name) const {
    PreprocessedImage prepared =
        preprocess_image(read_image(synthetic_folder() + "/" + name).rgb_HW3, settings_);
    return llava_item(prepared.pixel_values, *prepared.geometry);
  }
  /// `before` and `after` tokens of text around each image.
  VlmRow row(const std::string& name, const std::vector<std::string>& images, int64_t before,
             int64_t after) const {
    VlmRow made;
    made.name = name;
    const auto text = [&](int64_t count) {
      for (int64_t i = 0; i < count; ++i) {
        made.text.ids.push_back((3 + 17 * static_cast<int64_t>(made.text.ids.size())) % 180);
        made.text.labels.push_back(made.text.ids.back());
      }
    };
    text(before);
    for (const std::string& file : images) {
      made.text.ids.push_back(kImageId);
      made.text.labels.push_back(kIgnored);
      made.items.push_back(image(file));
      text(after);
    }
    if (images.empty()) text(after);
    return made;
  }
  std::vector<VlmRow> mixed_rows() const {
    return {row("a", {"gray_37x53.png"}, 3, 4),
            row("b", {"gray_37x53.png"}, 3, 4),
            row("c", {"cmyk_40x31.jpg"}, 2, 5),
            row("d", {}, 6, 5),
            row("e", {"rgba_64x41.png", "gray_37x53.png"}, 1, 3),
            row("f", {"gray_37x53.png"}, 4, 4)};
  }

  Vlm llava_;
  PreprocessSettings settings_;
};

TEST_F(LlavaBatches, CostUnderEverySchemeWhatTheirRowsCostAlone) {
  const std::vector<Parameter> parameters = make_trainable(llava_, {"*"}, {});
  const std::vector<VlmRow> rows = mixed_rows();
  std::vector<std::string> schemes = runnable_schemes();
  schemes.emplace_back();  // the checkpoint's own rotation
  for (const std::string& text : schemes) {
    SCOPED_TRACE(text);
    ModelLossOptions options;
    if (!text.empty()) options.scheme = Scheme(text);
    double alone = 0.0;
    drop_gradients(parameters);
    for (const VlmRow& one : rows) {
      const at::Tensor loss = vlm_loss(llava_, {one}, 0.01, options);
      alone += loss.item<double>();
      torch::autograd::backward({loss}, {});
    }
    std::vector<at::Tensor> gradients;
    for (const Parameter& parameter : parameters) gradients.push_back(parameter.value.grad().clone());
    for (const bool packing : {false, true}) {
      SCOPED_TRACE(packing ? "packed" : "padded");
      options.packing = packing;
      drop_gradients(parameters);
      const at::Tensor together = vlm_loss(llava_, rows, 0.01, options);
      EXPECT_NEAR(together.item<double>(), alone, 2e-6 * alone);
      torch::autograd::backward({together}, {});
      for (size_t i = 0; i < parameters.size(); ++i) {
        const double size = gradients[i].abs().max().item<double>();
        EXPECT_TRUE(
            all_close(parameters[i].value.grad(), gradients[i], (packing ? 1e-5 : 2e-5) * size + 1e-7))
            << parameters[i].name;
      }
    }
  }
}

TEST_F(LlavaBatches, OfEqualLayoutsAreOneAndPaddingStaysSmall) {
  const std::vector<VlmRow> rows = mixed_rows();
  const auto groups = group_rows(rows, llava_, Scheme("dipe"));
  size_t largest = 0, together = 0;
  for (const auto& group : groups) largest = std::max(largest, group.size());
  EXPECT_EQ(largest, 2u) << "rows a and b have one layout";
  EXPECT_EQ(groups.size(), 5u);
  for (const auto& group : group_rows(rows, llava_, Scheme("id-align"))) {
    int64_t real = 0, longest = 0;
    for (const size_t i : group) {
      const int64_t length = expanded_length(rows[i], media_marks(llava_.config));
      real += length;
      longest = std::max(longest, length);
    }
    EXPECT_GE(static_cast<double>(real),
              0.8 * static_cast<double>(longest) * static_cast<double>(group.size()));
    together = std::max(together, group.size());
  }
  EXPECT_GE(together, 3u);
}

TEST_F(LlavaBatches, PackedRowsHaveNoPaddingAndTheirOwnIds) {
  const std::vector<VlmRow> rows = mixed_rows();
  const MediaMarks marks = media_marks(llava_.config);
  for (const char* scheme : {"vanilla", "id-align", "v2pe:visual_stride=4"}) {
    SCOPED_TRACE(scheme);
    const auto groups = group_rows(rows, llava_, Scheme(scheme), /*packing=*/true);
    ASSERT_EQ(groups.size(), 1u);
    std::vector<int64_t> lengths;
    for (const size_t i : groups.front()) lengths.push_back(expanded_length(rows[i], marks));
    const VlmBatch batch = packed_rows(batch_rows(rows, groups.front(), llava_, Scheme(scheme)), lengths);
    const int64_t tokens = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
    ASSERT_EQ(batch.prompt.input_ids.size(1), tokens);
    EXPECT_EQ(std::count(batch.prompt.item_of.begin(), batch.prompt.item_of.end(), MediaPrompt::kPadding), 0);
    int64_t first = 0;
    for (size_t i = 0; i < lengths.size(); ++i) {
      const VlmBatch alone = batch_rows(rows, {groups.front()[i]}, llava_, Scheme(scheme));
      const auto part = [&](const at::Tensor& all, int64_t axis) {
        return all.narrow(axis, first, lengths[i]);
      };
      EXPECT_TRUE(part(batch.encoding.positions, 1).equal(alone.encoding.positions)) << i;
      for (size_t l = 0; l < alone.encoding.rotary.size(); ++l) {
        EXPECT_TRUE(part(batch.encoding.rotary[l].cos, 2).equal(alone.encoding.rotary[l].cos)) << i;
      }
      EXPECT_EQ(batch.labels[0][first].item<int64_t>(), kIgnored)
          << "nothing before it tells a row's first token";
      EXPECT_TRUE(
          batch.labels.narrow(1, first + 1, lengths[i] - 1).equal(alone.labels.narrow(1, 1, lengths[i] - 1)));
      first += lengths[i];
    }
  }
  // What rules beyond rotation cannot share goes as without packing.
  EXPECT_EQ(group_rows(rows, llava_, Scheme("dipe"), /*packing=*/true).size(), 5u);
}

TEST_F(LlavaBatches, ALongRowIsCutBeforeAnImageThatDoesNotFit) {
  VlmRow whole = row("e", {"rgba_64x41.png", "gray_37x53.png"}, 3, 3);
  const int64_t first = whole.items[0].plan.tokens(), second = whole.items[1].plan.tokens();
  EXPECT_EQ(expanded_length(whole, media_marks(llava_.config)), 3 + first + 3 + second + 3);
  const auto cut_to = [&](int64_t longest) {
    VlmRow cut = whole;
    cut_row(cut, longest, media_marks(llava_.config));
    return cut;
  };
  EXPECT_EQ(cut_to(0).text.ids.size(), whole.text.ids.size());
  EXPECT_EQ(cut_to(3 + first + 3 + second + 2).text.ids.size(), whole.text.ids.size() - 1);
  const VlmRow one = cut_to(3 + first + 3 + second - 1);
  EXPECT_EQ(one.items.size(), 1u);
  EXPECT_EQ(expanded_length(one, media_marks(llava_.config)), 3 + first + 3);
  EXPECT_EQ(cut_to(2).text.ids.size(), 2u);
  EXPECT_TRUE(cut_to(2).items.empty());
  // The loss is that of the whole row with later labels taken away.
  VlmRow masked = whole;
  for (size_t i = 4 + 2; i < masked.text.labels.size(); ++i) masked.text.labels[i] = kIgnored;
  const at::Tensor a = vlm_loss(llava_, {cut_to(3 + first + 2)}, 1.0), b = vlm_loss(llava_, {masked}, 1.0);
  EXPECT_NEAR(a.item<double>(), b.item<double>(), 1e-5);
}

TEST_F(LlavaBatches, AFrozenTowerLeavesNoGraph) {
  const MediaItem one = image("gray_37x53.png");
  make_trainable(llava_, {"*"},
                 {"model.vision_tower.*", "model.multi_modal_projector.*", "model.image_newline"});
  EXPECT_FALSE(see(llava_, {one}).features[0].requires_grad());
  make_trainable(llava_, {"model.multi_modal_projector.*"}, {});
  EXPECT_TRUE(see(llava_, {one}).features[0].requires_grad());
  EXPECT_FALSE(requires_grad(llava_.eyes.tower.weights));
}

}  // namespace
}  // namespace ropescope
