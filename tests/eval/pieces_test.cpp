// Shared pieces of the scoring rules, against the golden unit cases.
#include <gtest/gtest.h>

#include "ropescope/core/errors.h"
#include "ropescope/eval/benchmark.h"
#include "ropescope/eval/boxes.h"
#include "ropescope/eval/doc.h"
#include "ropescope/eval/edit_distance.h"
#include "ropescope/eval/letters.h"
#include "ropescope/eval/long_context.h"
#include "ropescope/eval/mmmu_open.h"
#include "ropescope/eval/vlmevalkit.h"
#include "ropescope/eval/vqa_text.h"

#include "tests/eval/golden_items.h"

namespace ropescope::eval {
namespace {

Json golden(const std::string& name) { return testing::golden_json("evaluation/" + name + ".json"); }
Text text_of(const Json& json) { return from_utf8(json.get<std::string>()); }

TEST(Letters, ExtractChoice) {
  for (const Json& item : golden("mcq_extract").at("items")) {
    Text letters;
    if (!item.at("choices").is_null()) {
      for (const Json& letter : item.at("choices")) letters += text_of(letter);
    }
    const auto letter = extract_choice(text_of(item.at("output")), letters);
    EXPECT_EQ(letter ? to_utf8(Text{*letter}) : "", item.at("expected")) << item.dump();
  }
}

TEST(Letters, MmbenchOptionRule) {
  for (const Json& item : golden("mmbench").at("items")) {
    const Text output(strip(text_of(item.at("output"))));
    EXPECT_EQ(json_letter(mmbench_option_rule(output)), item.at("expected").at("option_rule")) << item.dump();
  }
}

TEST(VqaText, EveryPieceOfTheNormalisation) {
  const Json file = golden("vqav2");
  for (const Json& item : file.at("normalisation")) {
    const Text text = text_of(item.at("text"));
    EXPECT_EQ(to_utf8(vqa_punctuation(text)), item.at("punctuation")) << item.dump();
    EXPECT_EQ(to_utf8(vqa_digits_articles(text)), item.at("digit_article")) << item.dump();
    EXPECT_EQ(to_utf8(vqa_digits_articles(vqa_punctuation(text))), item.at("punct_then_digit"))
        << item.dump();
    EXPECT_EQ(to_utf8(vqa_words(text)), item.at("word_tokenize")) << item.dump();
    const Text full = vqa_digits_articles(vqa_punctuation(vqa_one_line(vqa_words(text))));
    EXPECT_EQ(to_utf8(full), item.at("full")) << item.dump();
  }
  EXPECT_EQ(vqa_contractions().size(), file.at("contractions").size());
  for (const auto& [key, value] : file.at("contractions").items()) {
    EXPECT_EQ(vqa_contractions().at(from_utf8(key)), text_of(value));
  }
}

TEST(VqaText, OnlyTheFirstThirtyTwoDotsGo) { EXPECT_EQ(vqa_punctuation(Text(35, U'.')), Text(3, U'.')); }

TEST(EditDistance, GoldenPairs) {
  for (const Json& item : golden("docvqa").at("levenshtein")) {
    EXPECT_EQ(edit_distance(text_of(item[0]), text_of(item[1])), item[2].get<int64_t>()) << item.dump();
  }
}

TEST(Boxes, PixelsToShares) {
  for (const Json& item : golden("refcoco_rec").at("box_conversion")) {
    const Box box =
        box_from_pixels(item.at("xywh").get<Box>(), item.at("image_size")[0], item.at("image_size")[1]);
    expect_close(box, item.at("normalised_xyxy"), item.dump());
  }
}

TEST(Boxes, PixelBoxesOfARecordThatTellsThePictureSize) {
  const Json item = golden("refcoco_rec").at("box_conversion")[0];
  const Json doc = {{"answer", "x"}, {"bbox", item.at("xywh")}, {"image_size", item.at("image_size")}};
  const Reading reading = find_benchmark("refcoco_rec").read(doc, item.at("normalised_xyxy").dump(), {});
  EXPECT_NEAR(reading.score, 1, 1e-9);
}

TEST(Mme, ParseCases) {
  for (const Json& item : golden("mme").at("parse_cases")) {
    const Json doc = {{"answer", "Yes"}};
    EXPECT_EQ(find_benchmark("mme").read(doc, item.at("output"), {}).extracted, item.at("label"))
        << item.dump();
  }
}

TEST(Mme, APictureWithOneAnswerIsAnError) {
  const Benchmark& mme = find_benchmark("mme");
  const auto tally = mme.tally({});
  const Json doc = {{"answer", "Yes"}, {"category", "count"}, {"question_id", "1"}};
  tally->add(doc, mme.read(doc, "yes", {}));
  EXPECT_THROW(tally->aggregates(), InputError);
}

TEST(Pope, NoPositiveAnswerAtAll) {
  const Benchmark& pope = find_benchmark("pope");
  const auto tally = pope.tally({});
  const Json doc = {{"answer", "no"}};
  tally->add(doc, pope.read(doc, "no", {}));
  const Json all = tally->aggregates().at("all");
  EXPECT_EQ(all.at("precision"), 0);
  EXPECT_EQ(all.at("recall"), 0);
  EXPECT_EQ(all.at("f1"), 0);
}

TEST(Textvqa, PromptWithOcrTokens) {
  Rules rules;
  rules.ocr_tokens = true;
  for (const Json& item : golden("textvqa").at("items")) {
    EXPECT_EQ(find_benchmark("textvqa").prompt(item.at("doc"), rules), item.at("prompt_with_ocr"));
  }
}

TEST(Mmmu, OfficialRuleForOpenQuestions) {
  for (const Json& item : golden("mmmu_mc").at("open_cases")) {
    std::set<OpenAnswer> expected;
    for (const Json& answer : item.at("parsed_set")) {
      expected.insert(answer.is_number() ? OpenAnswer(answer.get<double>()) : OpenAnswer(text_of(answer)));
    }
    EXPECT_EQ(mmmu_open_answers(text_of(item.at("output"))), expected) << item.dump();
    const Json doc = {{"question", "?"}, {"question_type", "open"}, {"answer", item.at("gold")}};
    EXPECT_EQ(find_benchmark("mmmu_mc").read(doc, item.at("output"), {}).score,
              item.at("correct_official_rule").get<bool>() ? 1 : 0)
        << item.dump();
  }
}

TEST(Mmniah, Prompts) {
  for (const Json& item : golden("mmniah").at("prompts")) {
    EXPECT_EQ(find_benchmark("mmniah").prompt(item.at("item"), {}), item.at("full_prompt"));
  }
}

TEST(Mmniah, HeatMap) {
  const Json map = golden("mmniah").at("heatmap");
  const auto tally = find_benchmark("mmniah").tally({});
  for (const Json& entry : map.at("entries")) {
    Reading reading;
    reading.score = entry.at("score");
    const Json meta = {{"context_length", entry.at("context_length")},
                       {"placed_depth", entry.at("placed_depth")}};
    tally->add({{"answer", "x"}, {"meta", meta}}, reading);
  }
  const Json aggregates = tally->aggregates();
  for (const char* key : {"cell_mean_depth_by_length", "score_per_length"}) {
    expect_close(aggregates.at(key), map.at(key), key);
  }
}

TEST(VlmEvalKit, LettersOfBothDates) {
  for (const Json& item : golden("vlmevalkit").at("mcq")) {
    std::vector<Option> options;
    for (const auto& [letter, option] : item.at("options").items()) {
      options.push_back({from_utf8(letter).front(), text_of(option)});
    }
    const Text output = text_of(item.at("output"));
    EXPECT_EQ(json_letter(vlmevalkit_choice(output, options, VlmEvalKitDate::kMarch2026)),
              item.at("expected").at("march_2026"))
        << item.dump();
    EXPECT_EQ(json_letter(vlmevalkit_choice(output, options, VlmEvalKitDate::kMay2025)),
              item.at("expected").at("may_2025"))
        << item.dump();
  }
}

TEST(VlmEvalKit, YesNoAndNormalisation) {
  const Json file = golden("vlmevalkit");
  for (const Json& item : file.at("yes_no")) {
    EXPECT_EQ(vlmevalkit_yes_no(text_of(item.at("output"))), item.at("expected")) << item.dump();
  }
  for (const Json& item : file.at("normalisation")) {
    EXPECT_EQ(to_utf8(vlmevalkit_vqa_text(text_of(item.at("text")))), item.at("processed")) << item.dump();
  }
}

TEST(VlmEvalKit, VqaScores) {
  for (const Json& item : golden("vlmevalkit").at("vqa")) {
    std::vector<Text> answers;
    for (const Json& answer : item.at("answers")) answers.push_back(text_of(answer));
    const Text output = text_of(item.at("output"));
    const std::string method = item.at("method");
    double score = 0;
    if (method == "vqa_score") {
      score = vlmevalkit_vqa_score(output, answers);
    } else if (method == "anls") {
      score = anls(output, answers);
    } else {
      for (const Json& answer : item.at("answers")) {
        const Json doc = {{"answer", answer}};
        score = std::max(score, find_benchmark("chartqa").read(doc, item.at("output"), {}).score);
      }
    }
    EXPECT_NEAR(score, item.at("expected").at("score").get<double>(), 1e-9) << item.dump();
  }
}

TEST(LongContext, DistractorsAndMessages) {
  const Json file = golden("longcontext");
  const std::string corpus = join_distractors(file.at("files").get<std::map<std::string, std::string>>());
  EXPECT_EQ(corpus, file.at("corpus"));
  std::vector<std::string> words;
  for (size_t begin = 0; begin <= corpus.size();) {
    const size_t end = std::min(corpus.find(' ', begin), corpus.size());
    words.push_back(corpus.substr(begin, end - begin));
    begin = end + 1;
  }
  EXPECT_EQ(words.size(), file.at("n_corpus_tokens").get<size_t>());
  const auto distractor = [&](int64_t count) {
    std::string text;
    for (const std::string& word : repeat_to(words, count)) text += (text.empty() ? "" : " ") + word;
    return text;
  };
  for (const Json& item : file.at("cases")) {
    EXPECT_EQ(distractor(item.at("target_tokens")), item.at("distractor_text"));
  }
  const Json& example = file.at("message_example");
  EXPECT_EQ(with_distractor(distractor(example.at("target_tokens")), example.at("question")),
            example.at("parts")[1].at("text"));
}

TEST(LongContext, Fading) {
  const Json example = golden("longcontext").at("drop_example");
  std::map<int64_t, double> accuracy;
  for (const auto& [distance, value] : example.at("accuracy").items()) accuracy[std::stoll(distance)] = value;
  const auto result = fading(accuracy);
  for (const auto& [distance, value] : result) {
    EXPECT_NEAR(value.drop, example.at("drop_vs_0").at(std::to_string(distance)).get<double>(), 1e-9);
    EXPECT_NEAR(value.relative, example.at("relative").at(std::to_string(distance)).get<double>(), 1e-9);
  }
}

}  // namespace
}  // namespace ropescope::eval
