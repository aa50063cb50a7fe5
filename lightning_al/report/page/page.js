(function(){var tip=document.getElementById('tip');
function text(e){var t=e.target.closest&&e.target.closest('[data-tip]');if(t)return t.getAttribute('data-tip');return null}
document.querySelectorAll('svg.chart title, svg.over title').forEach(function(t){
 t.parentNode.setAttribute('data-tip',t.textContent);t.parentNode.removeChild(t)});
function show(e){var s=text(e);if(!s){tip.style.display='none';return}
 tip.textContent=s;tip.style.display='block';
 var x=e.clientX+14,y=e.clientY+14,w=tip.offsetWidth,h=tip.offsetHeight;
 if(x+w>innerWidth-6)x=Math.max(6,e.clientX-w-14);if(y+h>innerHeight-6)y=Math.max(6,e.clientY-h-14);
 tip.style.left=x+'px';tip.style.top=y+'px'}
document.addEventListener('pointermove',show);document.addEventListener('pointerdown',show);
document.addEventListener('scroll',function(){tip.style.display='none'},true);
var shut=[];addEventListener('beforeprint',function(){document.querySelectorAll('details:not([open])').forEach(
 function(d){d.open=true;shut.push(d)})});
addEventListener('afterprint',function(){shut.forEach(function(d){d.open=false});shut=[]})})();
