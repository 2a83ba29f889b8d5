using System.Diagnostics.CodeAnalysis;
using System.Text;
using System.Text.RegularExpressions;

namespace Vmsweep.Signatures.AllowLists;

/// <summary>
/// A pattern with wildcards, matched against the whole text. <c>*</c> and <c>?</c> stand for any characters and for one; in a path neither
/// for <c>/</c>, and <c>**</c> for any number of folders. In a path no wildcard stands for <c>:</c>, so that a stream is allowed only by a pattern
/// that names it. <c>[x]</c> is the character x itself. There is no escape character: a backslash is a backslash, as in the paths that are
/// printed.
/// </summary>
internal sealed class Glob
{
    private const int MostLength = 4096;

    private readonly string _text;
    private readonly Regex? _regex;
    private readonly StringComparison _comparison;

    private Glob(string text, Regex? regex, StringComparison comparison)
    {
        _text = text;
        _regex = regex;
        _comparison = comparison;
    }

    /// <param name="error">What is wrong with the pattern.</param>
    public static bool TryParse(string pattern, bool isPath, bool ignoreCase, [NotNullWhen(true)] out Glob? glob, out string error)
    {
        glob = null;
        error = pattern.Length is 0 or > MostLength ? $"has 1 to {MostLength} characters"
            : isPath && pattern.Split('/').Any(p => p is "." or "..") ? "a path with \".\" or \"..\""
            : "";
        if (error.Length > 0)
        {
            return false;
        }

        var plain = new StringBuilder();
        var regex = new StringBuilder(@"\A");
        bool hasWildcard = false;
        for (int i = 0; i < pattern.Length; i++)
        {
            switch (pattern[i])
            {
                case '*' when isPath && i + 1 < pattern.Length && pattern[i + 1] == '*':
                    hasWildcard = true;
                    i++;
                    bool isFolders = i + 1 < pattern.Length && pattern[i + 1] == '/' && (i == 1 || pattern[i - 2] == '/');
                    regex.Append(isFolders ? "(?:[^:]*/)?" : "[^:]*");
                    i += isFolders ? 1 : 0;
                    break;
                case '*':
                    hasWildcard = true;
                    regex.Append(isPath ? "[^/:]*" : @"[\s\S]*");
                    break;
                case '?':
                    hasWildcard = true;
                    regex.Append(@"(?:[\uD800-\uDBFF][\uDC00-\uDFFF]|").Append(isPath ? "[^/:]" : @"[\s\S]").Append(')');
                    break;
                case '[':
                    if (i + 2 >= pattern.Length || pattern[i + 2] != ']')
                    {
                        error = "[x] stands for one character x; there are no other classes";
                        return false;
                    }

                    Literal(pattern[i + 1]);
                    i += 2;
                    break;
                default:
                    Literal(pattern[i]);
                    break;
            }
        }

        // A guest chooses the text: this engine takes time in proportion to it, whatever the pattern.
        RegexOptions options = RegexOptions.NonBacktracking | RegexOptions.CultureInvariant | (ignoreCase ? RegexOptions.IgnoreCase : RegexOptions.None);
        glob = new Glob(plain.ToString(), hasWildcard ? new Regex(regex.Append(@"\z").ToString(), options) : null, ignoreCase ? StringComparison.OrdinalIgnoreCase : StringComparison.Ordinal);
        return true;

        void Literal(char c)
        {
            plain.Append(c);
            regex.Append(Regex.Escape(c.ToString()));
        }
    }

    public bool Matches(string text) => _regex?.IsMatch(text) ?? string.Equals(_text, text, _comparison);
}
