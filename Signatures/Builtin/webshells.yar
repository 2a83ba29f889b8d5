rule Webshell_PHP_Request_To_Code
{
    meta:
        description = "PHP that runs what a request parameter says"
        severity = "critical"
    strings:
        $php = "<?" 
        $code = /\b(eval|assert|system|shell_exec|passthru|popen|proc_open|pcntl_exec)\s{0,8}\(\s{0,8}(@?\s{0,4}(base64_decode|gzinflate|str_rot13|stripslashes|urldecode|rawurldecode|trim)\s{0,8}\(\s{0,8})?@?\$_(POST|GET|REQUEST|COOKIE)\s{0,4}[\[{]/ nocase
        $header = /\b(eval|assert|system|shell_exec|passthru)\s{0,8}\(\s{0,8}(base64_decode\s{0,8}\(\s{0,8})?\$_SERVER\s{0,4}\[\s{0,4}['"]HTTP_/ nocase
        // The App Engine development server hands its own set-up code over in a header.
        $sdk = "HTTP_X_APPENGINE_" nocase
        $input = /\b(eval|assert|system)\s{0,8}\(\s{0,8}(base64_decode\s{0,8}\(\s{0,8})?file_get_contents\s{0,8}\(\s{0,8}['"]php:\/\/input/ nocase
    condition:
        filesize < 2MB and $php and ($code or (any of ($header, $input) and not $sdk))
}

rule Webshell_PHP_Packed_Code
{
    meta:
        description = "PHP that unpacks and runs a long packed text"
        severity = "high"
    strings:
        $php = "<?php" nocase
        $packed = /\b(eval|assert)\s{0,8}\(\s{0,8}(gzinflate|gzuncompress|str_rot13|base64_decode|strrev)\s{0,8}\(\s{0,8}((gzinflate|gzuncompress|str_rot13|base64_decode|strrev)\s{0,8}\(\s{0,8}){0,4}['"][A-Za-z0-9+\/=]{200}/ nocase
    condition:
        filesize < 5MB and $php in (0..4096) and $packed
}

rule Webshell_ASP_Request_To_Code
{
    meta:
        description = "ASP or ASP.NET page that runs what a request parameter says"
        severity = "critical"
    strings:
        $page = "<%"
        $classic = /\b(eval|execute|executeglobal)\s{0,4}\(?\s{0,4}request(\.(form|item|querystring))?\s{0,4}[\(\[]/ nocase
        $script = /eval\s{0,4}\(\s{0,4}Request(\.Item|\.Form|\.QueryString)?\s{0,4}[\[\(].{1,60},\s{0,4}["']unsafe["']/ nocase
        $process = "System.Diagnostics.Process" nocase
        $info = /\.(FileName|Arguments)\s{0,4}=\s{0,4}("[^"]{0,20}"\s{0,4}\+\s{0,4})?Request(\.Form|\.QueryString|\.Params)?\s{0,4}[\[\(]/ nocase
    condition:
        filesize < 1MB and $page and ($classic or $script or ($process and $info))
}

rule Webshell_JSP_Request_To_Process
{
    meta:
        description = "JSP page that starts a process from a request parameter, or loads a class out of one"
        severity = "critical"
    strings:
        $page = "<%"
        $exec = /getRuntime\s{0,4}\(\s{0,4}\)\s{0,4}\.\s{0,4}exec\s{0,4}\(\s{0,4}(new\s{1,4}String\s{0,4}\[\s{0,4}\]\s{0,4}\{[^}]{0,60})?request\s{0,4}\.\s{0,4}getParameter/
        $builder = /new\s{1,4}(java\.lang\.)?ProcessBuilder\s{0,4}\([^;]{0,80}request\s{0,4}\.\s{0,4}getParameter/
        $define = "defineClass("
        $loader = "extends ClassLoader"
        $parameter = /request\s{0,4}\.\s{0,4}(getParameter|getReader|getHeader)\s{0,4}\(/
        $decode = /(BASE64Decoder|Base64\.getDecoder|javax\.crypto\.Cipher)/
    condition:
        filesize < 1MB and $page and ($exec or $builder or ($define and $loader and $parameter and $decode))
}
