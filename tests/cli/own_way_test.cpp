// A model is asked in its own way: under the scheme that it was trained under and under its checkpoint's chat template,
// unless a flag says otherwise.
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/io/result_file.h"

#include "tests/cli/evaluate_runs.h"
#include "tests/support/conversations.h"
#include "tests/support/tiny_llava.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::HasSubstr;
using ::testing::Not;

class OwnWay : public ::testing::Test {
 protected:
  void SetUp() override { write_tiny_llava(model()); }

  std::string model() const { return folder_.path("model"); }
  void change(const std::string& file, const Json& keys) const {
    Json json = read_json_file(model() + "/" + file);
    json.update(keys);
    folder_.write("model/" + file, json.dump());
  }
  /// config.json says it.
  void tag(const Json& scheme) const { change("config.json", {{"ropescope", {{"scheme", scheme}}}}); }

  CommandResult ask(const std::string& more, const std::string& prompt = "What is shown?") const {
    return run_ropescope("generate --json --max-new-tokens 4 --model '" + model() + "' --image '" +
                         synthetic_image("rgba_64x41.png") + "' --prompt '" + prompt + "' " + more);
  }
  Json answer(const std::string& more) const {
    const CommandResult result = ask(more);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.exit_code == 0 ? parse_json(result.out, "generate") : Json();
  }

  TemporaryFolder folder_;
};

TEST_F(OwnWay, TheSchemeInTheConfigIsTheDefaultAndAFlagWins) {
  EXPECT_EQ(answer("--template none").at("scheme"), Json());
  tag("mrope:sections=2/3/3");
  const CommandResult own = ask("--template none");
  ASSERT_EQ(own.exit_code, 0) << own.err;
  EXPECT_THAT(own.err, HasSubstr("scheme mrope:sections=2/3/3, as config.json says"));
  const auto logits = [&](const std::string& more) {
    const std::string output = folder_.path("trace.h5");
    const CommandResult result = run_ropescope(
        "trace --quiet --force --model '" + model() + "' --image '" + synthetic_image("rgba_64x41.png") +
        "' --text 'What is <image> here?' --output '" + output + "' " + more);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return ResultReader(output).read("/trace/logits");
  };
  const at::Tensor tagged = logits("");
  EXPECT_TRUE(tagged.equal(logits("--scheme mrope:sections=2/3/3")));
  const at::Tensor vanilla = logits("--scheme vanilla");
  EXPECT_FALSE(tagged.equal(vanilla));
  tag(nullptr);
  EXPECT_TRUE(vanilla.equal(logits("")));
}

TEST_F(OwnWay, InspectEvaluateAndTheReportNameTheScheme) {
  tag("id-align");
  const CommandResult shown = run_ropescope("inspect --json --model '" + model() + "'");
  EXPECT_EQ(parse_json(shown.out, "inspect").at("scheme"), "id-align");
  EXPECT_THAT(run_ropescope("inspect --model '" + model() + "'").out,
              HasSubstr("id-align, as it was trained"));
  folder_.write("items.jsonl", Json({{"question", "Is water wet?"}, {"answer", "yes"}}).dump() + "\n");
  const auto evaluate = [&](const std::string& output, const std::string& more) {
    return run_ropescope("evaluate --model '" + model() +
                         "' --template none --benchmark pope --max-new-tokens 2 --data '" +
                         folder_.path("items.jsonl") + "' --output '" + folder_.path(output) + "' " + more);
  };
  const CommandResult result = evaluate("own", "");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("scheme id-align, as config.json says"));
  EXPECT_EQ(read_json_file(folder_.path("own/run.json")).at("scheme"), "id-align");
  EXPECT_EQ(summary_in(folder_.path("own")).at("scheme"), "id-align");
  ASSERT_EQ(evaluate("plain", "--scheme vanilla").exit_code, 0);
  EXPECT_EQ(summary_in(folder_.path("plain")).at("scheme"), "vanilla");
  const CommandResult report =
      run_ropescope("report --results '" + folder_.path("own") + "' '" + folder_.path("plain") +
                    "' --output '" + folder_.path("r.md") + "'");
  ASSERT_EQ(report.exit_code, 0) << report.err;
  EXPECT_THAT(read_file(folder_.path("r.md")), HasSubstr("| id-align |"));
}

TEST_F(OwnWay, ATagThatIsNoSchemeIsAnInputErrorNamingTheFile) {
  for (const Json& wrong : {Json("id-aligned"), Json(7)}) {
    tag(wrong);
    for (const std::string command : {"generate --prompt x", "inspect"}) {
      const CommandResult result = run_ropescope(command + " --model '" + model() + "'");
      EXPECT_EQ(result.exit_code, 3) << result.err;
      EXPECT_THAT(result.err, HasSubstr("model/config.json: "));
    }
  }
  EXPECT_EQ(answer("--template none --scheme vanilla").at("scheme"), "vanilla") << "a flag needs no tag";
}

TEST_F(OwnWay, TheCheckpointsChatTemplateIsTheDefault) {
  const Json templates = golden_json("text/chat_templates.json").at("templates");
  EXPECT_EQ(answer("").at("template"), "vicuna_v1") << "known by its architecture";
  change("tokenizer_config.json",
         {{"chat_template", templates.at("llava-next-mistral").at("chat_template")}});
  const Json own = answer("");
  EXPECT_EQ(own.at("prompt"), "[INST] <image>\nWhat is shown? [/INST]");
  EXPECT_EQ(own.at("template"), "chat_template of tokenizer_config.json");
  EXPECT_EQ(own.at("input_ids").at(0), 1);
  EXPECT_NE(own.at("input_ids").at(1), 1) << "one start token";
  EXPECT_EQ(answer("--template none").at("prompt"), "<image>\nWhat is shown?");
  EXPECT_EQ(answer("--template vicuna_v1").at("template"), "vicuna_v1");
  folder_.write("model/chat_template.jinja", templates.at("llama-2").at("chat_template"));
  const Json written = answer("");
  EXPECT_EQ(written.at("prompt"), "<s>[INST] <image>\nWhat is shown? [/INST]");
  EXPECT_EQ(written.at("input_ids").at(0), 1);
  EXPECT_NE(written.at("input_ids").at(1), 1) << "the template's start token is the only one";
  EXPECT_THAT(answer("--system 'Be brief.'").at("prompt").get<std::string>(),
              HasSubstr("<<SYS>>\nBe brief."));
  folder_.write("model/chat_template.jinja", templates.at("gemma").at("chat_template"));
  const CommandResult refused = ask("--system 'Be brief.'");
  EXPECT_EQ(refused.exit_code, 3);
  EXPECT_THAT(refused.err, HasSubstr("it says \"System role not supported\""));
}

TEST_F(OwnWay, AQuestionOfABenchmarkAndOfAttentionGoesThroughTheSameTemplate) {
  folder_.write(
      "model/chat_template.jinja",
      "{% for m in messages %}<s>Q {% for c in m.content %}{% if c.type == 'image' %}<image>{% else %}{{ c.text }}{% endif %}{% endfor %} A{% endfor %}");
  std::filesystem::copy_file(synthetic_image("gray_37x53.png"), folder_.path("g.png"));
  folder_.write("items.jsonl",
                Json({{"question", "Is it?"}, {"answer", "yes"}, {"image", "g.png"}}).dump() + "\n");
  const CommandResult result =
      run_ropescope("evaluate --model '" + model() + "' --benchmark pope --max-new-tokens 2 --data '" +
                    folder_.path("items.jsonl") + "' --output '" + folder_.path("run") + "'");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(read_json_file(folder_.path("run/run.json")).at("template"), "chat_template.jinja");
  const CommandResult maps =
      run_ropescope("attention --model '" + model() + "' --image '" + folder_.path("g.png") +
                    "' --schemes vanilla --output '" + folder_.path("a.h5") + "'");
  ASSERT_EQ(maps.exit_code, 0) << maps.err;
  EXPECT_THAT(maps.err, HasSubstr("template: the model's own, chat_template.jinja"));
}

TEST_F(OwnWay, WhereNothingTellsTheTemplateItIsRefused) {
  Json config = read_json_file(model() + "/config.json");
  config["text_config"]["model_type"] = "mistral";
  config["text_config"]["sliding_window"] = nullptr;
  folder_.write("model/config.json", config.dump());
  const CommandResult mistral = ask("");
  EXPECT_EQ(mistral.exit_code, 3) << mistral.err;
  EXPECT_THAT(mistral.err, HasSubstr("--template"));
}

TEST_F(OwnWay, ARunsFolderStandsForItsNewestStepWithItsScheme) {
  const std::string data = make_conversations(folder_, 8);
  const std::string train = "train --model '" + model() + "' --data '" + data + "' --image-folder '" +
                            synthetic_folder() + "' --scheme id-align --max-steps 2 --threads 1 --output '" +
                            folder_.path("run") + "' ";
  const CommandResult trained = run_ropescope(train);
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  const CommandResult result = run_ropescope("generate --json --template none --max-new-tokens 2 --model '" +
                                             folder_.path("run") + "' --prompt 'a b'");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("the newest step of this run, step-2"));
  EXPECT_THAT(result.err, HasSubstr("scheme id-align, as state.json says"));
  EXPECT_EQ(parse_json(result.out, "generate").at("scheme"), "id-align");
  // A model that goes on from it is taught under the same scheme, and a finished run knows its last loss.
  const CommandResult on = run_ropescope(
      "train --model '" + folder_.path("run") + "' --data '" + data + "' --image-folder '" +
      synthetic_folder() + "' --max-steps 1 --threads 1 --output '" + folder_.path("next") + "'");
  ASSERT_EQ(on.exit_code, 0) << on.err;
  EXPECT_EQ(read_json_file(folder_.path("next/checkpoints/step-1/state.json")).at("config").at("scheme"),
            "id-align");
  const auto last_loss = [](const std::string& out) {
    const size_t at = out.find("loss ");
    return at == std::string::npos ? out : out.substr(at, out.find(',', at) - at);
  };
  const CommandResult again = run_ropescope(train + "--resume auto");
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(last_loss(again.out), last_loss(trained.out));
  EXPECT_THAT(again.out, Not(HasSubstr("loss 0.00000")));
}

TEST_F(OwnWay, OtherVisionLanguageModelsAreNamedAsNotSupported) {
  change("config.json", {{"model_type", "pixtral"}, {"architectures", {"PixtralForConditionalGeneration"}}});
  const CommandResult result = ask("--template none");
  EXPECT_EQ(result.exit_code, 3) << result.err;
  EXPECT_THAT(result.err, HasSubstr("model_type \"pixtral\" is not supported"));
  EXPECT_THAT(result.err, Not(HasSubstr("no vision tower")));
}

}  // namespace
}  // namespace ropescope
