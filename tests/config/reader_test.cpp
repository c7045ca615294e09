#include <gtest/gtest.h>

#include "config/sample.h"

namespace mara::config {
namespace {

/// The sample with one line of the document added at the end: line 8.
std::string with(const std::string& line) { return kSample + line + "\n"; }

/// A document with this value for the key `lr`, `sizes`, ... on line 1.
std::string only(const std::string& line) { return line + "\nmodel: {width: 1, mixer: {kind: s4d}}\n"; }

TEST(Reader, ReadsEveryType) {
  const Recipe r = read(with("quiet: true\nsizes: [+3, 4]\nschedule: linear\nclip: {norm: .5}"));
  EXPECT_EQ(r.name, "first run");
  EXPECT_TRUE(r.quiet);
  EXPECT_EQ(r.model.width, 32);
  EXPECT_EQ(r.model.mixer.kind, "hyena");
  EXPECT_EQ(r.model.mixer.hyena.order, 3);
  EXPECT_EQ(r.model.mixer.hyena.taps, 3);  // its default
  EXPECT_EQ(r.lr, 6e-4);
  EXPECT_EQ(r.betas, (std::vector<double>{0.9, 0.98}));
  EXPECT_EQ(r.sizes, (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(r.schedule, "linear");
  EXPECT_EQ(r.clip.value().norm, 0.5);
}

TEST(Reader, AbsentOptionalMappingIsAbsent) {
  Recipe recipe;
  recipe.clip = Clip{};
  Document::parse(kSample, "x.yaml").read(recipe);
  EXPECT_FALSE(recipe.clip.has_value());
}

TEST(Reader, AcceptsWhatANumberCanLookLike) {
  for (const auto& [text, value] : std::vector<std::pair<std::string, double>>{{"1", 1},
                                                                               {"+1", 1},
                                                                               {"1.", 1},
                                                                               {".5", 0.5},
                                                                               {"1e-3", 1e-3},
                                                                               {"1.0E+0", 1},
                                                                               {"0", 0},
                                                                               {"0.0", 0},
                                                                               {"01.5", 1.5}}) {
    EXPECT_EQ(read(only("lr: " + text)).lr, value) << text;
  }
  EXPECT_EQ(read(only("name: 12")).name, "12");
  EXPECT_EQ(read(only("name: ''")).name, "");
  EXPECT_EQ(read(only("sizes: []")).sizes.size(), 0u);
}

TEST(Reader, UnknownKey) {
  EXPECT_EQ(error_of(with("bettas: [1]")), "x.yaml:8: bettas: unknown key; did you mean 'betas'?");
  EXPECT_EQ(error_of(with("seed: 1")),
            "x.yaml:8: seed: unknown key; valid keys: name, quiet, model, lr, betas, sizes, schedule, clip");
  EXPECT_EQ(error_of("model:\n  width: 1\n  mixer:\n    kind: hyena\n    ordr: 2\n"),
            "x.yaml:5: model.mixer.ordr: unknown key for kind 'hyena'; did you mean 'order'?");
  // A key of another kind, and one of another mapping.
  EXPECT_EQ(error_of(kSample, {"model.mixer.kind=s4d"}),
            "x.yaml:5: model.mixer.order: unknown key for kind 's4d'; valid keys: kind, state");
  EXPECT_EQ(error_of(with("clip:\n  lr: 1")), "x.yaml:9: clip.lr: unknown key; valid keys: norm");
}

TEST(Reader, MissingKey) {
  EXPECT_EQ(error_of("name: a\nmodel:\n  mixer: {kind: s4d}\n"),
            "x.yaml:2: model.width: missing key; required: integer, at least 1");
  EXPECT_EQ(error_of("name: a\n"), "x.yaml:1: model.width: missing key; required: integer, at least 1");
  EXPECT_EQ(error_of("model: {width: 1}\n"), "x.yaml:1: model.mixer.kind: missing key; required: one of hyena, s4d");
  EXPECT_EQ(error_of("model:\n  width: 1\n  mixer: {order: 2}\n"),
            "x.yaml:3: model.mixer.kind: missing key; required: one of hyena, s4d");
  // The misspelt key is the better news.
  EXPECT_EQ(error_of("modell: {width: 1}\n"), "x.yaml:1: modell: unknown key; did you mean 'model'?");
  EXPECT_EQ(error_of("model:\n  wdith: 1\n  mixer: {kind: s4d}\n"),
            "x.yaml:2: model.wdith: unknown key; did you mean 'width'?");
}

TEST(Reader, Kind) {
  EXPECT_EQ(error_of("model: {width: 1, mixer: {kind: hyna}}\n"),
            "x.yaml:1: model.mixer.kind: must be one of hyena, s4d, got 'hyna'; did you mean 'hyena'?");
  EXPECT_EQ(error_of("model: {width: 1, mixer: {kind: attention}}\n"),
            "x.yaml:1: model.mixer.kind: must be one of hyena, s4d, got 'attention'");
  EXPECT_EQ(error_of("model: {width: 1, mixer: {kind: [s4d]}}\n"),
            "x.yaml:1: model.mixer.kind: text is required, got a list");
  EXPECT_EQ(error_of("model: {width: 1, mixer: {knid: s4d}}\n"),
            "x.yaml:1: model.mixer.kind: missing key; required: one of hyena, s4d; is 'knid' meant to be it?");
}

TEST(Reader, Mapping) {
  EXPECT_EQ(error_of("model: hyena\n"), "x.yaml:1: model: a mapping of keys to values is required, got 'hyena'");
  EXPECT_EQ(error_of(with("clip: [1]")), "x.yaml:8: clip: a mapping of keys to values is required, got a list");
}

TEST(Reader, Integer) {
  const auto error = [](const std::string& value) { return error_of("sizes: [1, " + value + "]\n"); };
  const std::string start = "x.yaml:1: sizes[1]: ";
  EXPECT_EQ(error("abc"), start + "an integer is required, got 'abc'");
  EXPECT_EQ(error("1e3"), start + "an integer is required, got '1e3'; write 1000");
  EXPECT_EQ(error("1_000"), start + "an integer is required, got '1_000'; write 1000");
  EXPECT_EQ(error("2.0"), start + "an integer is required, got '2.0'; write 2");
  EXPECT_EQ(error("010"), start + "an integer is required, got '010'; write 10");
  EXPECT_EQ(error("2.5"), start + "an integer is required, got '2.5'");
  EXPECT_EQ(error("0x10"), start + "an integer is required, got '0x10'");
  EXPECT_EQ(error("+-1"), start + "an integer is required, got '+-1'");
  EXPECT_EQ(error("'2'"), start + "an integer is required, got the text \"2\"; remove the quotes");
  EXPECT_EQ(error("true"), start + "an integer is required, got 'true'");
  EXPECT_EQ(error("[2]"), start + "an integer is required, got a list");
  EXPECT_EQ(error("9223372036854775808"),
            start + "an integer of 64 bits is required, 9223372036854775808 does not fit");
  EXPECT_EQ(error("0"), start + "must be at least 1, got 0");
  EXPECT_EQ(read(only("sizes: [1, 9223372036854775807]")).sizes[1], INT64_MAX);
  EXPECT_EQ(error_of("model: {width: 1, mixer: {kind: hyena, taps: 4}}\n"),
            "x.yaml:1: model.mixer.taps: must be odd and at least 1, got 4");
  EXPECT_EQ(read("model: {width: 1, mixer: {kind: hyena, taps: 5}}\n").model.mixer.hyena.taps, 5);
}

TEST(Reader, Number) {
  const auto error = [](const std::string& value) { return error_of("lr: " + value + "\n"); };
  EXPECT_EQ(error("abc"), "x.yaml:1: lr: a number is required, got 'abc'");
  EXPECT_EQ(error("1,5"), "x.yaml:1: lr: a number is required, got '1,5'");
  EXPECT_EQ(error("1_0.5"), "x.yaml:1: lr: a number is required, got '1_0.5'; write 10.5");
  EXPECT_EQ(error("nan"), "x.yaml:1: lr: a finite number is required, got 'nan'");
  EXPECT_EQ(error("-inf"), "x.yaml:1: lr: a finite number is required, got '-inf'");
  EXPECT_EQ(error(".inf"), "x.yaml:1: lr: a number is required, got '.inf'");
  EXPECT_EQ(error("1e999"), "x.yaml:1: lr: a number in double precision is required, 1e999 does not fit");
  EXPECT_EQ(error("1e-999"), "x.yaml:1: lr: a number in double precision is required, 1e-999 does not fit");
  EXPECT_EQ(error("\"1\""), "x.yaml:1: lr: a number is required, got the text \"1\"; remove the quotes");
  EXPECT_EQ(error("{a: 1}"), "x.yaml:1: lr: a number is required, got a mapping");
  EXPECT_EQ(error("10.5"), "x.yaml:1: lr: must be from 0 to 10, got 10.5");
  EXPECT_EQ(error_of("clip: {norm: 0}\n"), "x.yaml:1: clip.norm: must be above 0, got 0");
  EXPECT_EQ(read(only("lr: 10")).lr, 10);
}

TEST(Reader, Boolean) {
  for (const std::string value : {"yes", "True", "1", "on"}) {
    EXPECT_EQ(error_of("quiet: " + value + "\n"), "x.yaml:1: quiet: true or false is required, got '" + value + "'");
  }
  EXPECT_FALSE(read(only("quiet: false")).quiet);
}

TEST(Reader, Text) {
  EXPECT_EQ(error_of("name: [a]\n"), "x.yaml:1: name: text is required, got a list");
  EXPECT_EQ(error_of("schedule: cosin\n"),
            "x.yaml:1: schedule: must be one of cosine, linear, constant, got 'cosin'; did you mean 'cosine'?");
  EXPECT_EQ(error_of("schedule: step\n"), "x.yaml:1: schedule: must be one of cosine, linear, constant, got 'step'");
}

TEST(Reader, List) {
  EXPECT_EQ(error_of("betas: 0.9\n"), "x.yaml:1: betas: a list of numbers is required, got '0.9'; write [0.9]");
  EXPECT_EQ(error_of("sizes: {a: 1}\n"), "x.yaml:1: sizes: a list of integers is required, got a mapping");
  EXPECT_EQ(error_of("betas:\n  - 0.9\n  - 1.5\n"), "x.yaml:3: betas[1]: must be from 0 to 1, got 1.5");
}

TEST(Reader, RuleBetweenFields) {
  EXPECT_EQ(error_of("model:\n  width: 1\n  mixer:\n    kind: s4d\n    state: 3\n"),
            "x.yaml:5: model.mixer.state: must be even (conjugate pairs), got 3");
  EXPECT_EQ(read("model: {width: 1, mixer: {kind: s4d, state: 4}}\n").model.mixer.s4d.state, 4);
}

TEST(Reader, Set) {
  EXPECT_EQ(read(kSample, {"model.width=7"}).model.width, 7);
  EXPECT_EQ(read(kSample, {"clip.norm=2"}).clip.value().norm, 2);  // the mapping is made
  EXPECT_EQ(read(kSample, {"model.mixer={kind: s4d, state: 8}"}).model.mixer.s4d.state, 8);
  EXPECT_EQ(read(kSample, {"betas=[0.5, 0.6]"}).betas[1], 0.6);
  EXPECT_EQ(read(kSample, {"name=a=b"}).name, "a=b");
  EXPECT_EQ(read(kSample, {"lr=1", "lr=2"}).lr, 2);

  EXPECT_EQ(error_of(kSample, {"model.width=abc"}),
            "--set model.width=abc: model.width: an integer is required, got 'abc'");
  EXPECT_EQ(error_of(kSample, {"model.wdth=1"}), "--set model.wdth=1: model.wdth: unknown key; did you mean 'width'?");
  EXPECT_EQ(error_of(kSample, {"clp.norm=1"}), "--set clp.norm=1: clp: unknown key; did you mean 'clip'?");
  EXPECT_EQ(error_of(kSample, {"lr=11"}), "--set lr=11: lr: must be from 0 to 10, got 11");
  EXPECT_EQ(error_of(kSample, {"lr"}), "--set lr: key=value is required, there is no =");
  EXPECT_EQ(error_of(kSample, {"lr="}), "--set lr=: lr: a value is required after =");
  EXPECT_EQ(error_of(kSample, {"lr=~"}), "--set lr=~: lr: a value is required after =");
  EXPECT_EQ(error_of(kSample, {"=1"}), "--set =1: a key is required before =, as in train.steps=100");
  EXPECT_EQ(error_of(kSample, {"a..b=1"}), "--set a..b=1: a key is required before every dot, as in train.steps=100");
  EXPECT_EQ(error_of(kSample, {"lr.x=1"}), "--set lr.x=1: lr is '6.0e-4' and has no keys in it");
  EXPECT_EQ(error_of(kSample, {"betas.0=1"}), "--set betas.0=1: betas is a list and has no keys in it");
  EXPECT_EQ(error_of(kSample, {"betas=[1"}), "--set betas=[1: betas: not valid YAML: end of sequence flow not found");
  EXPECT_EQ(
      error_of(kSample, {"clip={norm: &a 1}"}),
      "--set clip={norm: &a 1}: clip.norm: anchors (&name) are not supported; write the value out where it is used");
}

}  // namespace
}  // namespace mara::config
