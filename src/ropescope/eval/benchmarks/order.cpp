#include "ropescope/core/errors.h"
#include "ropescope/eval/benchmarks/registry.h"

namespace ropescope::eval {

namespace order_rules {
namespace {

constexpr TextView kLetters = U"ABCD";

/// The question places its pictures itself, by <image>.
Json prompt(const Json& doc, const Rules&) { return to_utf8(doc_text(doc, "question")); }

/// The first character counts, and nothing else.
Reading read(const Json& doc, const std::string& output, const Rules&) {
  const Text first = from_utf8(output).substr(0, 1);
  const bool letter = !first.empty() && contains(kLetters, first);
  const bool right = first == doc_text(doc, "answer");
  return {first.empty() ? Json(nullptr) : Json(to_utf8(first)), std::nullopt, right ? 1.0 : 0.0, !letter};
}

void check(const Json& doc) {
  check_letter(doc, lettered(std::vector<Text>(kLetters.size())));
  doc_key(doc, "tag");
}

class OrderTally : public Tally {
 public:
  void add(const Json& doc, const Reading& reading) override {
    all_.add(reading.score);
    tags_[doc_key(doc, "tag")].add(reading.score);
  }
  Json aggregates() const override { return {{"acc", all_.json()}, {"tag", json_of(tags_)}}; }

 private:
  Mean all_;
  Means tags_;
};

std::unique_ptr<Tally> tally(const Rules&) { return std::make_unique<OrderTally>(); }
std::string part(const Json& doc) { return doc_key(doc, "tag"); }

}  // namespace
}  // namespace order_rules

Benchmark order() {
  using namespace order_rules;
  return {"order",
          "What stands between two of a row of coloured pictures and pieces of text.",
          "made by ropescope order (DIPE's test of order)",
          {"id", "question", "answer", "tag", "images"},
          1024,
          Json::json_pointer("/acc"),
          100,
          prompt,
          read,
          tally,
          {nullptr, nullptr, nullptr, part},
          Options::kInQuestion,
          nullptr,
          check};
}

}  // namespace ropescope::eval
