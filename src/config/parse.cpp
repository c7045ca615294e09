// The only file that knows the YAML library. It listens to parser events and builds a Node, because the library's own
// tree (0.7) keeps duplicate keys, resolves aliases silently and reports their anchor's line.

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <optional>
#include <sstream>
#include <utility>

#include "config/node.h"
#include "core/error.h"

namespace mara::config {
namespace {

// YAML::EmitterStyle::value in 0.7, YAML::EmitterStyle in later versions.
template <class Style>
Style style_argument(void (YAML::EventHandler::*)(const YAML::Mark&, const std::string&, YAML::anchor_t, Style));
using Style = decltype(style_argument(&YAML::EventHandler::OnMapStart));

const std::string kNoAnchor = "anchors (&name) are not supported; write the value out where it is used";
const std::string kNoAlias =
    "aliases are not supported; write the value out, or in quotes if it is text that begins with *";

/// The library tells of an unclosed bracket only after events that make no sense, so a first pass looks for that alone.
/// It ends with the first document: at a comma outside of brackets the library finds another document for ever.
class SyntaxOnly final : public YAML::EventHandler {
  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t, Style) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, Style) override {}
  void OnMapEnd() override {}
};

class Builder final : public YAML::EventHandler {
 public:
  Builder(const std::string& text, const Origin& origin) : text_(text), origin_(origin) {}

  std::optional<Node> root;

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (!started_) {
      started_ = true;
    } else if (at(mark) == ',') {
      fail(mark, "not valid YAML: a comma stands outside of brackets");
    } else {
      fail(mark, "one document is required, another one starts here");
    }
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    plain_only(mark, "?", anchor);
    if (open_.empty()) return;  // nothing at all, see parse_yaml
    if (key_expected()) fail(mark, "a key is required, got nothing");
    const bool colon = open_.back().key && open_.back().key->find(':') != std::string::npos;
    fail(mark, std::string("a value is required, got nothing (an empty value, ~ and null mean nothing); ") +
                   (colon ? "write a space after the colon" : "leave the key out to get its default"));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { fail(mark, kNoAlias); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    const char first = at(mark);
    // The library gives quoted and block scalars the tag "!", the same as for one written out.
    const bool quoted = tag == "!" && (first == '\'' || first == '"' || first == '|' || first == '>');
    plain_only(mark, quoted ? "?" : tag, anchor);
    if (quoted && (first == '\'' || first == '"') && !closed(mark)) fail(mark, "the quote is never closed");
    if (key_expected()) {
      Open& mapping = open_.back();
      mapping.key = value;
      mapping.key_where = origin_.line(mark.line);
      if (value == "<<") fail(mark, "merge keys are not supported; write the keys out");
      if (const Node* first_one = mapping.node.find(value)) fail(mark, "duplicate key; first at " + first_one->where);
      return;
    }
    add({.kind = Node::Kind::scalar, .where = origin_.line(mark.line), .text = value, .quoted = quoted});
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, Style) override {
    begin(Node::Kind::list, mark, tag, anchor);
  }
  void OnSequenceEnd() override { end(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, Style) override {
    begin(Node::Kind::mapping, mark, tag, anchor);
  }
  void OnMapEnd() override { end(); }

 private:
  struct Open {
    Node node;
    std::optional<std::string> key;  // of a mapping: read, its value comes next
    std::string key_where;
  };

  bool key_expected() const {
    return !open_.empty() && open_.back().node.kind == Node::Kind::mapping && !open_.back().key;
  }
  char at(const YAML::Mark& mark) const {
    return mark.pos < static_cast<int>(text_.size()) ? text_[static_cast<size_t>(mark.pos)] : '\0';
  }
  /// Whether the quoted text that starts at `mark` ends: the library takes the end of the file for its end.
  bool closed(const YAML::Mark& mark) const {
    const char quote = at(mark);
    for (size_t i = static_cast<size_t>(mark.pos) + 1; i < text_.size(); ++i) {
      if (quote == '"' && text_[i] == '\\') {
        ++i;
      } else if (text_[i] == quote) {
        if (quote == '"' || i + 1 == text_.size() || text_[i + 1] != quote) return true;
        ++i;  // '' inside '...' is one quote
      }
    }
    return false;
  }
  void plain_only(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) const {
    if (anchor != YAML::NullAnchor) fail(mark, kNoAnchor);
    if (tag != "?" && !tag.empty()) fail(mark, "tags (" + tag + ") are not supported; write the value alone");
  }
  void begin(Node::Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    plain_only(mark, tag, anchor);
    if (key_expected()) fail(mark, "keys must be text, got a list or mapping");
    open_.push_back({.node = {.kind = kind, .where = origin_.line(mark.line)}});
  }
  void end() {
    Node node = std::move(open_.back().node);
    open_.pop_back();
    add(std::move(node));
  }
  void add(Node node) {
    if (open_.empty()) {
      root = std::move(node);
      return;
    }
    Open& parent = open_.back();
    if (parent.key) {
      node.where = parent.key_where;
      parent.node.keys.push_back(*std::exchange(parent.key, std::nullopt));
    }
    parent.node.items.push_back(std::move(node));
  }
  [[noreturn]] void fail(const YAML::Mark& mark, const std::string& message) const {
    std::string path = origin_.path;
    for (const Open& open : open_) {
      if (open.node.kind == Node::Kind::list) path += detail::join({"[", open.node.items.size(), "]"});
      if (open.key) path = join_key(path, *open.key);
    }
    const bool after_key = !open_.empty() && open_.back().key;
    fail_at(after_key ? open_.back().key_where : origin_.line(mark.line), path, message);
  }

  const std::string& text_;
  const Origin& origin_;
  bool started_ = false;
  std::vector<Open> open_;
};

/// What the library lets pass or reports in a way nobody would understand.
void check_characters(const std::string& text, const Origin& origin) {
  int64_t line = 0;
  bool indentation = true;
  for (const char c : text) {
    if (indentation && c == '\t') fail_at(origin.line(line), origin.path, "tab in the indentation; use spaces");
    if (static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\n' && c != '\r') {
      fail_at(origin.line(line), origin.path,
              detail::join({"control character ", static_cast<int>(c), "; a recipe is UTF-8 text"}));
    }
    indentation = c == '\n' || (indentation && c == ' ');
    line += c == '\n';
  }
}

}  // namespace

const Node* Node::find(std::string_view key) const {
  const auto found = std::find(keys.begin(), keys.end(), key);
  return found == keys.end() ? nullptr : &items[static_cast<size_t>(found - keys.begin())];
}

std::string describe(const Node& node) {
  switch (node.kind) {
    case Node::Kind::list:
      return "a list";
    case Node::Kind::mapping:
      return "a mapping";
    default:
      return node.quoted ? "the text \"" + node.text + "\"" : "'" + node.text + "'";
  }
}

void fail_at(const std::string& where, const std::string& key, const std::string& message) {
  std::string text = where + ": ";
  if (!key.empty()) text += key + ": ";
  throw Error(text + message);
}

std::string join_key(const std::string& path, std::string_view key) {
  return path.empty() ? std::string(key) : path + "." + std::string(key);
}

std::string Origin::line(int64_t zero_based) const {
  return has_lines ? name + ":" + std::to_string(zero_based + 1) : name;
}

Node parse_yaml(const std::string& text, const Origin& origin) {
  const std::string source = text.substr(text.starts_with("\xEF\xBB\xBF") ? 3 : 0);
  check_characters(source, origin);
  Builder builder(source, origin);
  try {
    std::istringstream first_pass(source), second_pass(source);
    SyntaxOnly syntax;
    YAML::Parser(first_pass).HandleNextDocument(syntax);
    YAML::Parser parser(second_pass);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& e) {
    const bool alias = e.msg.starts_with(YAML::ErrorMsg::UNKNOWN_ANCHOR);
    fail_at(origin.line(std::max(e.mark.line, 0)), origin.path, alias ? kNoAlias : "not valid YAML: " + e.msg);
  }
  if (!builder.root) {
    fail_at(origin.name, origin.path,
            origin.path.empty() ? "empty; a mapping of keys to values is required" : "a value is required after =");
  }
  return std::move(*builder.root);
}

}  // namespace mara::config
