#include "report/report.h"

#include <gmock/gmock.h>

#include <cmath>
#include <random>

#include "report/html.h"
#include "report/runs.h"

namespace mara::report {
namespace {

using testing::HasSubstr;
using testing::Not;

// What is wrong with a document as XML: tags that do not match, a < or & that stands for itself, an attribute twice or
// without quotes. Empty if nothing is.
std::string xml_fault(std::string_view text) {
  std::vector<std::string> open;
  const auto name_at = [&](size_t i) {
    const size_t begin = i;
    while (i < text.size() && (std::isalnum(static_cast<unsigned char>(text[i])) || text[i] == '-')) ++i;
    return std::string(text.substr(begin, i - begin));
  };
  const auto reference_fault = [](std::string_view at) {
    for (const char* known : {"&amp;", "&lt;", "&gt;", "&quot;"}) {
      if (at.starts_with(known)) return false;
    }
    return true;
  };
  if (text.starts_with("<!DOCTYPE html>")) text.remove_prefix(15);
  for (size_t i = 0; i < text.size();) {
    const std::string near = " near: " + std::string(text.substr(i, 60));
    if (text[i] == '&' && reference_fault(text.substr(i))) return "a bare &" + near;
    if (static_cast<unsigned char>(text[i]) < 32 && text[i] != '\n' && text[i] != '\t')
      return "a control character" + near;
    if (text[i] != '<') {
      ++i;
    } else if (text.substr(i).starts_with("<![CDATA[")) {
      i = text.find("]]>", i) + 3;
    } else if (text.substr(i).starts_with("</")) {
      const std::string name = name_at(i + 2);
      if (open.empty() || open.back() != name) return "</" + name + "> does not match" + near;
      open.pop_back();
      i = text.find('>', i) + 1;
    } else {
      const std::string name = name_at(i + 1);
      if (name.empty()) return "a bare <" + near;
      i += 1 + name.size();
      std::vector<std::string> attributes;
      while (text[i] == ' ') {
        const std::string attribute = name_at(++i);
        i += attribute.size();
        if (!text.substr(i).starts_with("=\"")) return "an attribute without a quoted value" + near;
        const size_t end = text.find('"', i + 2);
        const std::string_view value = text.substr(i + 2, end - i - 2);
        if (value.find('<') != value.npos) return "a < in an attribute" + near;
        for (size_t at = value.find('&'); at != value.npos; at = value.find('&', at + 1)) {
          if (reference_fault(value.substr(at))) return "a bare & in an attribute" + near;
        }
        if (std::find(attributes.begin(), attributes.end(), attribute) != attributes.end())
          return "twice: " + attribute;
        attributes.push_back(attribute);
        i = end + 1;
      }
      const bool empty = text[i] == '/';
      if (text[i + empty] != '>') return "a tag without an end" + near;
      if (!empty) open.push_back(name);
      i += 1 + empty;
    }
  }
  return open.empty() ? "" : "<" + open.back() + "> is not closed";
}

TEST(XmlFault, FindsThem) {
  EXPECT_EQ(xml_fault("<!DOCTYPE html>\n<a b=\"1\" c-d=\"&lt;\"><e/>x &amp; y<![CDATA[<&]]></a>"), "");
  for (const char* bad : {"<a>", "</a>", "<a></b>", "<a b=1/>", "<a b=\"1\" b=\"2\"/>", "a & b", "a < b",
                          "<a b=\"&x\"/>", "<a b=\"<\"/>", "\x01"}) {
    EXPECT_NE(xml_fault(bad), "") << bad;
  }
}

int occurrences(const std::string& text, const std::string& of) {
  int count = 0;
  for (size_t at = text.find(of); at != text.npos; at = text.find(of, at + of.size())) ++count;
  return count;
}

TEST(Escape, WhatHtmlAndXmlForbid) {
  EXPECT_EQ(escape("<a href=\"x\">&</a>"), "&lt;a href=&quot;x&quot;&gt;&amp;&lt;/a&gt;");
  EXPECT_EQ(escape("gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x99\x82\n\t"),
            "gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x99\x82\n\t");
  EXPECT_EQ(escape(std::string("\0\x1b\x7f", 3)), "\xE2\x90\x80\xE2\x90\x9B\xE2\x90\xA1");
  const std::string unknown = "\xEF\xBF\xBD";
  EXPECT_EQ(escape("\xFF"), unknown);
  EXPECT_EQ(escape("\xC3"), unknown);
  EXPECT_EQ(escape("\xC3("), unknown + "(");
  EXPECT_EQ(escape("\xC0\xAF"), unknown + unknown);                // overlong /
  EXPECT_EQ(escape("\xED\xA0\x80"), unknown + unknown + unknown);  // a surrogate
}

TEST(MarkedYaml, KeysOnly) {
  EXPECT_EQ(marked_yaml("a: {b_c: x:y, \"d\": 1}\n  e:\n"),
            "<i>a</i>: {<i>b_c</i>: x:y, &quot;d&quot;: 1}\n  <i>e</i>:\n");
}

TEST(Report, OneRun) {
  const TemporaryFolder folder;
  std::string metrics;
  for (int step = 1; step <= 300; ++step) metrics += step_line(step, 3.0 / step);
  metrics +=
      "{\"step\":300,\"split\":\"valid\",\"loss\":0.02,\"accuracy\":0.75}\n"
      "{\"step\":300,\"split\":\"test\",\"loss\":0.03,\"accuracy\":0.7}\n";
  report::Run run = read_run(make_run(folder / "one", metrics, "train: {steps: 6000}\n"));
  run.parameters = "weights (3, 4)";
  const std::string html = to_html({run});
  EXPECT_EQ(xml_fault(html), "");
  for (const char* part : {"<title>one</title>", "Steps of 6,000", "<h3>Loss</h3>", "<h3>Validation accuracy</h3>",
                           "<h3>Learning rate</h3>", "<h3>Gradient norm</h3>", "<h3>Tokens per second</h3>", "70.00 %",
                           "<i>steps</i>: 6000", "weights (3, 4)"}) {
    EXPECT_THAT(html, HasSubstr(part));
  }
  for (const char* part : {"Samples", "bits per byte", "Settings that differ", "class=\"note\""}) {
    EXPECT_THAT(html, Not(HasSubstr(part)));
  }
}

TEST(Report, NeedsNothingFromElsewhere) {
  const TemporaryFolder folder;
  std::string html = to_html({read_run(make_run(folder / "run", step_line(1, 1)))});
  // The name of the SVG namespace is no address that is opened.
  const std::string name = "'http://www.w3.org/2000/svg'";
  html.erase(html.find(name), name.size());
  for (const char* part : {"http:", "https:", "//cdn", "src=", "href=", "@import", "url("})
    EXPECT_THAT(html, Not(HasSubstr(part)));
}

TEST(Report, SeveralRuns) {
  const TemporaryFolder folder;
  const std::string valid = "{\"step\":2,\"split\":\"valid\",\"loss\":0.5,\"accuracy\":0.9}\n";
  std::vector<report::Run> runs;
  for (int i = 0; i < 10; ++i) {
    const std::string number = std::to_string(i);
    runs.push_back(read_run(make_run(
        folder / (i < 2 ? "twin" + number + "/same" : "run" + number), step_line(1, 2) + step_line(2, 1) + valid,
        "run: {seed: " + number + "}\noptim: {lr: 0.5}\n" + (i == 3 ? "extra: 1\n" : ""))));
  }
  const std::string html = to_html(runs);
  EXPECT_EQ(xml_fault(html), "");
  EXPECT_THAT(html, HasSubstr("10 runs compared"));
  EXPECT_THAT(html, HasSubstr("<th>run.seed</th>"));
  EXPECT_THAT(html, HasSubstr("<th>extra</th>"));
  EXPECT_THAT(html, Not(HasSubstr("<th>optim.lr</th>")));
  EXPECT_EQ(occurrences(html, "aria-pressed=\"true\""), 10);
  EXPECT_THAT(html, HasSubstr("class=\"line c1 dashed\" data-line=\"9\""));
  EXPECT_THAT(html, HasSubstr("twin0/same"));  // equal names: the folders tell them apart
  EXPECT_EQ(occurrences(html, "<h3>Validation loss</h3>"), 1);
}

TEST(Report, RunsWithoutValues) {
  const TemporaryFolder folder;
  const std::string empty = to_html({read_run(make_run(folder / "empty", ""))});
  EXPECT_EQ(xml_fault(empty), "");
  EXPECT_THAT(empty, HasSubstr("No step has been recorded yet"));
  EXPECT_THAT(empty, Not(HasSubstr("<figure")));
  const std::string null = to_html({read_run(
      make_run(folder / "null",
               "{\"step\":1,\"loss\":null,\"grad_norm\":null,\"skipped\":true}\n{\"step\":2,\"loss\":null}\n"))});
  EXPECT_EQ(xml_fault(null), "");
  EXPECT_THAT(null, HasSubstr("1 step was skipped"));
  EXPECT_THAT(null, Not(HasSubstr("<figure")));
  EXPECT_THAT(null, Not(HasSubstr("nan")));
}

TEST(Report, NothingOfARunBecomesMarkup) {
  const TemporaryFolder folder;
  const std::string evil = "</script><script>alert(1)</script><img src=x onerror=\"alert(1)\">&'\x01\xFF]]>";
  report::Run run = read_run(make_run(folder / "x",
                                      step_line(1, 1) + "{\"step\":1,\"split\":\"<b>\",\"loss\":1}\n"
                                                        "{\"step\":1,\"split\":\"valid\",\"loss\":1}\n",
                                      "\"<i a=\\\"1\\\">\": '<u>'\n"));
  run.name = run.folder = run.parameters = run.samples = run.started = evil;
  report::Run other = run;
  other.settings[0].second = evil;
  const std::string plain = to_html({read_run(folder / "x")});
  for (const std::string& html : {to_html({run}), to_html({run, other})}) {
    EXPECT_EQ(xml_fault(html), "");
    EXPECT_EQ(occurrences(html, "<script"), 1);
    EXPECT_EQ(occurrences(html, "<img"), 0);
    EXPECT_EQ(occurrences(html, "<u>"), 0);
    EXPECT_THAT(html, HasSubstr("&lt;/script&gt;"));
  }
  EXPECT_THAT(plain, HasSubstr("data-name=\"&lt;b&gt;\""));
}

TEST(Report, LongRunsStaySmall) {
  std::mt19937 random(1);
  std::normal_distribution<double> noise;
  report::Run run{.name = "long"};
  for (int step = 1; step <= 200000; ++step) {
    for (const char* key : {"loss", "lr", "grad_norm", "tokens_per_second"})
      run.training[key].add(step, 10 + noise(random));
    run.training["skipped"].add(step, noise(random) > 2);
    if (step % 10 == 0) run.evaluations["valid"]["loss"].add(step, 10 + noise(random));
  }
  run.training["loss"].values[123456] = 4096;
  const std::string html = to_html({run});
  EXPECT_LT(html.size(), size_t{600000});
  EXPECT_THAT(html, HasSubstr(" 4096"));
}

}  // namespace
}  // namespace mara::report
