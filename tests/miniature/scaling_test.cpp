// Context scaling of the miniature: frequencies, folders of models, quick passes and tables.
#include "miniature/scaling.h"

#include <cmath>

#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/rope/encoding.h"

#include "miniature/comparisons.h"
#include "miniature/model.h"
#include "miniature/quick_decoder.h"
#include "miniature/views.h"
#include "tests/miniature/made_up_runs.h"
#include "tests/support/golden.h"

namespace ropescope::miniature {
namespace {

TEST(Scaling, KnowsTheLongestSequence) {
  EXPECT_EQ(longest_sequence(World()), 105);                        // 8x8 patches and 8 newlines
  EXPECT_EQ(longest_sequence(Order::kInternvl), 129);               // 12x8 patches
  EXPECT_EQ(longest_sequence(Order::kNative, 4), 1 + 16 + 64 + 8);  // no newlines
}

TEST(Scaling, MakesTheFrequenciesThatItsFormulasSay) {
  const auto channel = [](const RopeConfig& rope, int64_t i) {
    return make_frequencies(rope, 32, 1024, 0).inv_freq[i].item<double>();
  };
  const auto plain = [](double theta, int64_t i) { return std::pow(theta, -static_cast<double>(i) / 16); };
  for (const int64_t i : {0, 1, 7, 15}) {
    EXPECT_DOUBLE_EQ(channel(scaled_rope(1e4, "", 1, {}), i), plain(1e4, i));
    EXPECT_DOUBLE_EQ(channel(scaled_rope(1e5, "linear", 4, {}), i), plain(1e5, i) / 4);
    EXPECT_NEAR(channel(scaled_rope(1e4, "ntk", 16, {}), i), plain(1e4 * std::pow(16, 32.0 / 30), i), 1e-12);
  }
  // The slowest channel is stretched by the factor, under all of them; the fastest only by `linear`.
  for (const char* type : {"linear", "ntk", "yarn"}) {
    const RopeConfig rope = scaled_rope(1e4, type, 4, {});
    EXPECT_NEAR(channel(rope, 15), plain(1e4, 15) / 4, 1e-12) << type;
    EXPECT_NEAR(channel(rope, 0), std::string(type) == "linear" ? 0.25 : 1.0, 1e-12) << type;
  }
  EXPECT_EQ(scaled_rope(1e4, "yarn", 4, {}).original_max_position_embeddings, 105);
}

TEST(Scaling, RefusesWhatItCannotBe) {
  EXPECT_THROW(scaled_rope(1e4, "dynamic", 4, {}), UsageError);
  EXPECT_THROW(scaled_rope(1e4, "yarn", 1, {}), UsageError);
  EXPECT_THROW(scaled_rope(1e4, "", 4, {}), UsageError);
}

TEST(Scaling, ComesBackFromTheFoldersOfModels) {
  for (const Order order : {Order::kLlavaNext, Order::kNative}) {
    for (const char* type : {"", "linear", "ntk", "yarn"}) {
      const testing::TemporaryFolder folder;
      Llava llava = fresh_model({}, 1e4, 4, order);
      const RopeConfig rope = scaled_rope(1e3, type, *type == 0 ? 1 : 16, order);
      llava.config.decoder.rope() = llava.decoder.config.rope() = rope;
      save_model(llava, folder.path("model"), "", order);
      EXPECT_EQ(load_model(folder.path("model"), order).decoder.config.rope(), rope) << type;
      EXPECT_EQ(scaling_text(rope), *type == 0 ? "" : std::string(type) + ":16");
    }
  }
}

// YaRN multiplies cosines and sines; the quick passes take them as they are.
TEST(Scaling, QuickPassesTurnAsTheLibrarysDo) {
  const at::NoGradGuard no_grad;
  const View view = view_of({6, 8}, Order::kLlavaNext);
  const Layout layout = layout_of(view, 6);
  const int64_t tokens = 7 + view.block.tokens();
  const at::Tensor embeddings = at::randn({2, tokens, 96});
  at::Tensor plain;
  for (const char* type : {"", "linear", "ntk", "yarn"}) {
    Llava llava = fresh_model({}, 1e4, 6);
    llava.config.decoder.rope() = llava.decoder.config.rope() =
        scaled_rope(1e4, type, *type == 0 ? 1 : 4, {});
    const PassEncoding encoding =
        SequenceEncoding(Scheme("id-align"), layout, encoded_model(llava.decoder.config)).pass(0, tokens);
    ASSERT_TRUE(is_quick(llava.decoder, encoding)) << type;
    QuickPass pass(llava.decoder, encoding, tokens, {tokens - 6, tokens - 1});
    ForwardInput input;
    input.inputs_embeds = embeddings;
    input.encoding = &encoding;
    ForwardOptions options;
    options.logits = ForwardOptions::Logits::kNone;
    const at::Tensor found = pass.hidden(embeddings);
    EXPECT_TRUE(testing::all_close(found,
                                   forward(llava.decoder, input, options)
                                       .final_hidden.index_select(1, at::tensor({tokens - 6, tokens - 1})),
                                   1e-4))
        << type;
    if (*type == 0) {
      plain = found;
    } else {
      EXPECT_GT((found - plain).abs().max().item<double>(), 1e-3) << type;
    }
  }
}

TEST(Scaling, IsPartOfAThetaInTables) {
  const auto run_of = [&](const std::string& scheme, const Json& scaling) {
    Json run = made_up_run(scheme, 0, {{100, scores_of({1, 2}, {1, 2})}});
    if (!scaling.is_null()) run["scaling"] = scaling;
    return parse_run(run, "a run");
  };
  const Json yarn = scaling_json(scaled_rope(1e4, "yarn", 4, {}));
  EXPECT_EQ(yarn["original_max_position_embeddings"], 105);
  const std::vector<Row> rows = make_rows(
      {run_of("vanilla", {}), run_of("id-align", {}), run_of("vanilla", yarn), run_of("id-align", yarn)},
      {"vanilla", "id-align"});
  ASSERT_EQ(rows.size(), 4U);
  EXPECT_NE(markdown_table(rows).find("| vanilla | 10⁴ yarn:4 |"), std::string::npos) << markdown_table(rows);
  // A scaled run is compared with a scaled one.
  const std::vector<Comparison> comparisons = compare_rows(rows);
  ASSERT_EQ(comparisons.size(), 2U);
  for (const Comparison& comparison : comparisons) {
    EXPECT_EQ(rows[comparison.with].scaling, rows[comparison.without].scaling);
  }
  EXPECT_NE(runs_csv(rows).find("\"vanilla\",\"\",\"\",10000,yarn:4,1,0,100,100,1,2,1,2,1,2,1,2,8\n"),
            std::string::npos);
}

}  // namespace
}  // namespace ropescope::miniature
