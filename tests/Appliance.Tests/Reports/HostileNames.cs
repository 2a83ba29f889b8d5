namespace Vmsweep.Appliance.Tests.Reports;

/// <summary>Names that act on what shows them, where that lets them.</summary>
internal static class HostileNames
{
    /// <summary>Scripts that mark the page, and loads of an address.</summary>
    public static IReadOnlyList<string> Markup(string address) =>
    [
        $"<script>document.documentElement.setAttribute('data-owned','1');fetch('{address}/script')</script>",
        $"\"><img src=\"{address}/img\" onerror=\"document.documentElement.setAttribute('data-owned','1')\">",
        $"'><svg onload=\"document.documentElement.setAttribute('data-owned','1')\"><image href=\"{address}/svg\"/></svg>",
        $"</style><script src=\"{address}/src\"></script>",
        $"</title></head><body><iframe src=\"{address}/frame\"></iframe>",
        $"<meta http-equiv=\"refresh\" content=\"0;url={address}/refresh\"><base href=\"{address}/\">",
        $"<link rel=\"stylesheet\" href=\"{address}/css\"><style>@import url({address}/import);body{{background:url({address}/bg)}}</style>",
        $"<a href=\"javascript:document.documentElement.setAttribute('data-owned','1')\" autofocus onfocus=\"document.documentElement.setAttribute('data-owned','1')\">x</a>",
        $"<!--<math><mtext></mtext><script>document.documentElement.setAttribute('data-owned','1')</script>-->",
        $"&lt;script&gt;&#60;script&#62;document.documentElement.setAttribute('data-owned','1')&#60;/script&#62;",
    ];

    public static IReadOnlyList<string> Terminal { get; } = ["\u001b]0;owned\u0007\u001b[2J\u001b[31mred", "a\nb\rc\td", "\u202Egpj.exe\u202C", "\u009b31m", "\u2066x\u2069", "[red]not markup[/]", "\ud800 alone"];

    public static IReadOnlyList<string> Formulas { get; } = ["=1+1", "+1", "-2+3", "@SUM(A1)", "=cmd|' /C calc'!A0", "\t=1", " =1", "＝1+1", "a\",=1,\"b", "a\r\n=1", "|cmd", "%0A=1"];
}
