// `ropescope trace` as a user runs it, against the golden activations.
#include <fstream>

#include <gtest/gtest.h>

#include <ATen/ops/equal.h>

#include "ropescope/io/result_file.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

Json rows_of(const at::Tensor& tensor) {
  if (tensor.dim() == 0)
    return tensor.is_floating_point() ? Json(tensor.item<double>()) : Json(tensor.item<int64_t>());
  Json list = Json::array();
  for (int64_t i = 0; i < tensor.size(0); ++i) list.push_back(rows_of(tensor[i]));
  return list;
}

class Trace : public ::testing::Test {
 protected:
  std::string model(const std::string& name = "llama-tiny/safetensors-fp32") const {
    return "--model '" + golden_path("language/" + name) + "'";
  }
  std::string file(const Json& json) {
    const std::string path = folder_.path("tokens" + std::to_string(files_++) + ".json");
    std::ofstream(path) << json.dump();
    return path;
  }
  std::string out() const { return folder_.path("trace.h5"); }
  CommandResult trace(const std::string& flags) const {
    return run_ropescope("trace " + flags + " --quiet --force --dtype float32 --output '" + out() + "'");
  }
  at::Tensor dataset(const std::string& name) const { return ResultReader(out()).read("/trace/" + name); }

  TemporaryFolder folder_;
  std::map<std::string, at::Tensor> golden_ = golden_tensors("language/llama-tiny/expected.safetensors");
  int files_ = 0;
};

TEST_F(Trace, WritesEverythingThatWasAskedForBatchFirst) {
  const std::string tokens = file({{"input_ids", rows_of(golden_.at("right.input_ids"))},
                                   {"attention_mask", rows_of(golden_.at("right.attention_mask"))}});
  const CommandResult result = trace(model() + " --tokens '" + tokens +
                                     "' --dump logits,hidden,q,k,q_rotated,k_rotated,attention --json");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(Json::parse(result.out).at("datasets").at("/trace/attention/2"), Json({2, 4, 12, 12}));
  EXPECT_TRUE(all_close(dataset("logits"), golden_.at("right.logits"), 1e-4));
  EXPECT_TRUE(at::equal(dataset("input_ids"), golden_.at("right.input_ids")));
  EXPECT_EQ(dataset("position_ids").sizes().vec(), (std::vector<int64_t>{1, 2, 12}));
  const ResultReader reader(out());
  for (const std::string l : {"0", "1", "2"}) {
    for (const std::string name : {"q/", "k/", "q_rotated/", "k_rotated/"}) {
      EXPECT_EQ(reader.read("/trace/" + name + l).sizes().vec(), (std::vector<int64_t>{2, 4, 12, 16}));
    }
    EXPECT_TRUE(all_close(dataset("q/" + l)[0], golden_.at("main.q_pre." + l)[0], 5e-5));
    EXPECT_TRUE(all_close(dataset("k_rotated/" + l)[0], golden_.at("main.k_rope." + l)[0], 5e-5));
    EXPECT_TRUE(all_close(dataset("attention/" + l)[0], golden_.at("main.attn." + l)[0], 5e-5));
    EXPECT_TRUE(all_close(dataset("hidden/" + l)[0], golden_.at("main.hidden." + l)[0], 5e-5));
  }
  EXPECT_TRUE(all_close(dataset("hidden/3")[0], golden_.at("main.last_layer_out")[0], 5e-5));
  EXPECT_TRUE(all_close(dataset("final_hidden")[0], golden_.at("main.hidden.3")[0], 5e-5));
  EXPECT_FALSE(reader.has("/trace/hidden/4"));
}

TEST_F(Trace, PaddingQueriesThatSeeNoKeyHaveAnAttentionOfZero) {
  const std::string tokens = file({{"input_ids", rows_of(golden_.at("main.input_ids"))},
                                   {"attention_mask", rows_of(golden_.at("main.attention_mask"))}});
  ASSERT_EQ(trace(model() + " --tokens '" + tokens + "' --dump attention --layers 1").exit_code, 0);
  const at::Tensor rows = dataset("attention/1");
  EXPECT_EQ(rows[1].narrow(1, 0, 4).abs().max().item<double>(), 0.0);
  EXPECT_TRUE(all_close(rows[1].narrow(1, 4, 8), golden_.at("main.attn.1")[1].narrow(1, 4, 8), 5e-5));
  const ResultReader reader(out());
  EXPECT_FALSE(reader.has("/trace/attention/0"));
  EXPECT_FALSE(reader.has("/trace/logits"));
}

TEST_F(Trace, PositionIdsAreTakenAsTheyAre) {
  const Json ids = rows_of(golden_.at("posid.input_ids")),
             positions = rows_of(golden_.at("posid.position_ids"));
  const std::string flat = file({{"input_ids", ids}, {"position_ids", positions}});
  ASSERT_EQ(trace(model() + " --tokens '" + flat + "'").exit_code, 0);
  EXPECT_TRUE(all_close(dataset("logits"), golden_.at("posid.logits"), 1e-4));
  const std::string axes = file({{"input_ids", ids}, {"position_ids", {positions, positions, positions}}});
  ASSERT_EQ(trace(model() + " --tokens '" + axes + "'").exit_code, 0);
  EXPECT_TRUE(all_close(dataset("logits"), golden_.at("posid.logits"), 1e-4));
  EXPECT_EQ(dataset("position_ids").size(0), 3);

  // Attention depends on differences only, fractions and negative numbers included.
  Json shifted = positions;
  for (Json& value : shifted[0]) value = value.get<double>() - 1000.5;
  const std::string moved = file({{"input_ids", ids}, {"position_ids", shifted}});
  ASSERT_EQ(trace(model() + " --tokens '" + moved + "'").exit_code, 0);
  EXPECT_TRUE(all_close(dataset("logits"), golden_.at("posid.logits"), 1e-4));

  Json other = positions;
  other[0][3] = 99;
  const std::string different = file({{"input_ids", ids}, {"position_ids", {positions, other, positions}}});
  const CommandResult refused = trace(model() + " --tokens '" + different + "'");
  EXPECT_EQ(refused.exit_code, 3);
  EXPECT_NE(refused.err.find("axes differ"), std::string::npos) << refused.err;
}

TEST_F(Trace, ContinuesGreedilyPastEndTokens) {
  const std::string tokens = file({{"input_ids", rows_of(golden_.at("main.input_ids"))},
                                   {"attention_mask", rows_of(golden_.at("main.attention_mask"))}});
  const CommandResult result = trace(model() + " --tokens '" + tokens + "' --generate 8 --json");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json expected = golden_json("language/llama-tiny/expected.json").at("greedy_left_padded_batch");
  EXPECT_EQ(rows_of(dataset("generated")), expected);
  EXPECT_EQ(Json::parse(result.out).at("generated"), expected);
}

TEST_F(Trace, RotationOfTheCheckpointCanBeReplaced) {
  const std::string tokens =
      "--tokens '" + file({{"input_ids", rows_of(golden_.at("posid.input_ids"))}}) + "'";
  const std::pair<const char*, const char*> cases[] = {
      {"theta1e7", "--rope-theta 1e7"},
      {"linear", "--rope-scaling '{\"type\":\"linear\",\"factor\":4}'"},
      {"yarn",
       "--rope-scaling '{\"rope_type\":\"yarn\",\"factor\":4,\"original_max_position_embeddings\":64}'"},
      {"dynamic",
       "--rope-scaling '{\"rope_type\":\"dynamic\",\"factor\":2,\"original_max_position_embeddings\":8}'"},
      {"llama3",
       "--rope-scaling '{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4,"
       "\"original_max_position_embeddings\":64}'"},
  };
  for (const auto& [variant, flags] : cases) {
    SCOPED_TRACE(variant);
    const CommandResult result =
        trace(model() + " " + tokens + " --dump logits,q_rotated --layers 0 " + flags);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_TRUE(all_close(dataset("logits"), golden_.at(std::string("rope.") + variant + ".logits"), 1e-4));
    EXPECT_TRUE(
        all_close(dataset("q_rotated/0"), golden_.at(std::string("rope.") + variant + ".q_rope.0"), 5e-5));
  }
}

TEST_F(Trace, TensorsAreRotatedAndAttendedToWithoutAModel) {
  const auto rotations = golden_tensors("positions/rotations.safetensors");
  struct Record {
    const char* name;
    const char* flags;
  };
  for (const Record& record :
       {Record{"adjacent_text", "--pairing adjacent"},
        Record{"yarn_text",
               "--rope-scaling '{\"rope_type\":\"yarn\",\"factor\":4,"
               "\"original_max_position_embeddings\":4096}'"},
        Record{"partial_text", "--rope-scaling '{\"rope_type\":\"default\",\"partial_rotary_factor\":0.5}'"},
        Record{"vanilla_text", "--rope-theta 1e6"}}) {
    SCOPED_TRACE(record.name);
    const std::string base = record.name;
    const at::Tensor q = rotations.at(base + "/q").contiguous(), k = rotations.at(base + "/k").contiguous();
    const std::string path = folder_.path(base + ".safetensors");
    write_safetensors(path, {{"q", q}, {"k", k}, {"v", k}});
    const CommandResult result = trace("--tensors '" + path + "' " + record.flags);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_TRUE(all_close(dataset("q_rotated/0")[0], rotations.at(base + "/q_rot"), 2e-5));
    EXPECT_TRUE(all_close(dataset("k_rotated/0")[0], rotations.at(base + "/k_rot"), 2e-5));
    // The output is the attention rows applied to v, head h reading v of head h / 2.
    const at::Tensor rows = dataset("attention/0")[0], output = dataset("output/0")[0];
    EXPECT_TRUE(all_close(output, rows.matmul(k.repeat_interleave(2, 0)), 2e-5));
    EXPECT_TRUE(all_close(rows.sum(-1), at::Tensor(rows.sum(-1)).fill_(1), 1e-5));
    EXPECT_EQ(rows.triu(1).abs().max().item<double>(), 0.0);
  }
}

TEST_F(Trace, FilesThatCannotBeAreRefusedInWords) {
  const std::pair<Json, const char*> cases[] = {
      {Json::array({1, 2}), "input_ids"},
      {{{"input_ids", {{1, 2, 3}, {1, 2}}}}, "one length"},
      {{{"input_ids", {{1, 2}, {1, 2, 3}}}}, "one length"},
      {{{"input_ids", {{1, 2.5}}}}, "integers"},
      {{{"input_ids", {{1, "a"}}}}, "numbers"},
      {{{"input_ids", {{1, 352}}}}, "352"},
      {{{"input_ids", {{1, -1}}}}, "-1"},
      {{{"input_ids", Json::array()}}, "empty"},
      {{{"input_ids", {{1, 2}}}, {"attention_mask", {{1, 1, 1}}}}, "attention_mask"},
      {{{"input_ids", {{1, 2}}}, {"attention_mask", {{0, 0}}}}, "padding"},
      {{{"input_ids", {{1, 2}}}, {"attention_mask", {{1, 2}}}}, "attention_mask"},
      {{{"input_ids", {{1, 2}}}, {"position_ids", {{1, 2, 3}}}}, "position_ids"},
      {{{"input_ids", {{1, 2}}}, {"position_ids", {{{{1, 2}}}}}}, "position_ids"},
  };
  for (const auto& [json, word] : cases) {
    const CommandResult result = trace(model() + " --tokens '" + file(json) + "'");
    EXPECT_EQ(result.exit_code, 3) << json.dump() << result.err;
    EXPECT_NE(result.err.find(word), std::string::npos) << json.dump() << result.err;
  }
}

TEST_F(Trace, FlagsThatCannotBeAreUsageErrors) {
  const std::string tokens = "--tokens '" + file({{"input_ids", {{1, 2}}}}) + "' ";
  for (const std::string& flags :
       {model(), model() + " --text hi " + tokens, tokens, model() + " " + tokens + "--dump logitz",
        model() + " " + tokens + "--layers 3", model() + " " + tokens + "--generate 0",
        model() + " " + tokens + "--rope-theta -1",
        model() + " " + tokens + "--rope-scaling '{\"rope_type\":'",
        model() + " " + tokens + "--rope-scaling '{\"rope_type\":\"yarm\",\"factor\":4}'",
        model() + " " + tokens + "--pairing half", model() + " --tensors x.safetensors"}) {
    const CommandResult result = trace(flags);
    EXPECT_EQ(result.exit_code, 2) << flags << "\n" << result.err;
  }
  EXPECT_NE(trace(model() + " " + tokens + "--dump logitz").err.find("logits"), std::string::npos);
}

TEST_F(Trace, ATextIsTokenizedByTheModelsTokenizer) {
  const CommandResult result =
      trace(model("qwen2-tiny/safetensors-bf16-tied") + " --text 'hello world' --generate 2 --json");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json report = Json::parse(result.out);
  EXPECT_EQ(report.at("generated").at(0).size(), 2u);
  EXPECT_EQ(report.at("generated_text").size(), 1u);
  EXPECT_EQ(dataset("logits").size(1), dataset("input_ids").size(1));
}

}  // namespace
}  // namespace ropescope
