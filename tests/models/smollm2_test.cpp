// The real SmolLM2-135M-Instruct against tests/golden/language/smollm2. Label: slow. The file comes from
// $ROPESCOPE_SMOLLM2 or from the wheel that the set-up installs; without it the test is skipped.
#include <cstdlib>
#include <filesystem>

#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/topk.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/models/generate.h"

#include "tests/models/tiny_models.h"
#include "tests/support/golden.h"
#include "tests/support/real_model.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
namespace fs = std::filesystem;

TEST(SlowSmolLM2, RealWeightsGiveTheGoldenNumbers) {
  const std::string path = smollm2_path();
  if (path.empty()) GTEST_SKIP() << "the SmolLM2 file is not installed; set ROPESCOPE_SMOLLM2";
  const at::NoGradGuard no_grad;
  const Decoder decoder = load_decoder(*open_checkpoint(path), read_decoder_config(path), {});
  const Json golden = golden_json("language/smollm2/texts.json");
  const auto vectors = golden_tensors("language/smollm2/qk.safetensors");
  const auto layers = golden.at("layers").get<std::vector<int64_t>>();
  for (size_t n = 0; n < golden.at("texts").size(); ++n) {
    SCOPED_TRACE("text " + std::to_string(n));
    const Json& text = golden.at("texts")[n];
    const auto id_list = text.at("ids").get<std::vector<int64_t>>();
    const auto length = static_cast<int64_t>(id_list.size());
    const at::Tensor ids = at::tensor(id_list, at::kLong).unsqueeze(0);
    const Shown shown = run_and_show(decoder, ids);
    const at::Tensor logits = shown.output.logits[0];

    const at::Tensor nll = at::log_softmax(logits.to(at::kDouble), -1)
                               .narrow(0, 0, length - 1)
                               .gather(1, ids[0].narrow(0, 1, length - 1).unsqueeze(1))
                               .squeeze(1)
                               .neg();
    const std::string prefix = "t" + std::to_string(n) + ".";
    EXPECT_NEAR(nll.mean().item<double>(), text.at("mean_nll").get<double>(), 1e-5);
    EXPECT_TRUE(all_close(nll, vectors.at(prefix + "token_nll"), 1e-4));

    const auto [values, indices] = at::topk(logits[length - 1], 10);
    EXPECT_TRUE(all_close(values, at::tensor(text.at("top10_logits").get<std::vector<double>>()), 2e-4));
    EXPECT_TRUE(
        all_close(indices, at::tensor(text.at("top10_ids").get<std::vector<int64_t>>(), at::kLong), 0));

    // The last of the reference's norms comes after the final norm.
    const auto norms = text.at("hidden_norm_per_layer_last_token").get<std::vector<double>>();
    for (size_t depth = 0; depth < norms.size(); ++depth) {
      const bool last = depth + 1 == norms.size();
      const at::Tensor& hidden =
          last ? shown.output.final_hidden : shown.hidden.at(static_cast<int64_t>(depth));
      EXPECT_NEAR(hidden[0][length - 1].norm().item<double>(), norms[depth], 1e-5 * norms[depth] + 5e-5);
    }

    const at::Tensor places = at::tensor(text.at("positions").get<std::vector<int64_t>>(), at::kLong);
    for (const int64_t l : layers) {
      const std::string key = prefix + "l" + std::to_string(l);
      EXPECT_TRUE(all_close(shown.q.at(l)[0].transpose(0, 1).index_select(0, places),
                            vectors.at(key + ".q_pre"), 5e-5))
          << key;
      EXPECT_TRUE(all_close(shown.k.at(l)[0].transpose(0, 1).index_select(0, places),
                            vectors.at(key + ".k_pre"), 5e-5))
          << key;
    }

    const at::Tensor greedy = generate(decoder, {ids, {}, {}}, {16, true, {}}).ids[0];
    EXPECT_TRUE(all_close(greedy, at::tensor(text.at("greedy16").get<std::vector<int64_t>>(), at::kLong), 0));
  }
}

}  // namespace
}  // namespace ropescope
